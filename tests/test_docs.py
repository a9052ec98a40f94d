"""The documentation: its size, its links, the paths that it names, and the examples of docs/design.md."""
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUTSIDE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "experiments" / "README.md"]
PAGES = OUTSIDE + sorted((ROOT / "docs").glob("*.md")) + sorted((ROOT / "docs" / "tutorials").glob("*.py"))


def text(path):
    """Returns what a file says; of a tutorial, the text of its Markdown cells."""
    content = path.read_text(encoding="utf-8")
    if path.parent.name != "tutorials":
        return content
    cells = re.findall(r"(?ms)^# %% \[markdown\]\n(.*?)(?=^# %%|\Z)", content)
    return re.sub(r"(?m)^# ?", "", "\n".join(cells))


def test_readme_stays_short():
    readme = text(ROOT / "README.md")
    assert len(readme.splitlines()) <= 150 and len(readme.encode()) <= 10000


def anchors(path):
    headings = re.findall(r"(?m)^#+ (.*)$", text(path))
    return [re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.strip().lower())) for heading in headings]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("overview", ["README.md", "docs/index.md", "mkdocs.yml"])
def test_every_tutorial_is_found(overview):
    named = re.findall(r"tutorials/\w+\.py\b", text(ROOT / overview))
    tutorials = {f"tutorials/{page.name}" for page in PAGES if page.parent.name == "tutorials"}
    assert tutorials and tutorials == set(named)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_that_are_named_exist(page):
    """Paths with a placeholder in capitals or in braces, and removed files, are skipped."""
    named = re.findall(r"\b(?:core|networks|data_loader|misc|config|benchmarks|docs|tests)/[\w./]+\.\w+", text(page))
    removed = re.findall(r"(?m)^\| `([^`]+)` \|", text(page)) if page.name == "CHANGELOG.md" else []
    for path in named:
        if not re.search(r"[A-Z]{3}", path) and path not in removed:
            assert (ROOT / path).exists(), path


def test_versions_agree():
    versions = {re.search(pattern, text(ROOT / name), re.MULTILINE).group(1) for name, pattern in (
        ("pyproject.toml", r'^version = "(.+)"$'), ("CITATION.cff", r"^version: (.+)$"),
        ("CHANGELOG.md", r"^## \[(\d\S*)\] - "))}
    assert len(versions) == 1


@pytest.fixture
def extended(tmp_path):
    """A copy of the code with every example of docs/design.md inserted where its step says."""
    for name in ("core", "networks", "data_loader", "misc", "config"):
        shutil.copytree(str(ROOT / name), str(tmp_path / name), ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(str(ROOT / "train.py"), str(tmp_path))
    blocks = [textwrap.dedent(block) for block in re.findall(r"(?ms)^ *```python\n(.*?)^ *```",
                                                            text(ROOT / "docs" / "design.md"))]

    def example(start, number=0):
        return [block for block in blocks if block.startswith(start)][number]

    def edit(name, old, new):
        path = tmp_path / name
        assert old in text(path), f"{name} has no {old!r}"
        path.write_text(text(path).replace(old, new, 1), encoding="utf-8")

    def append(name, code):
        (tmp_path / name).write_text(f"{text(tmp_path / name)}\n\n{code}", encoding="utf-8")

    def add_row(name, table, row):
        before = re.search(rf"(?m)^{table}\b[^\n]* = \{{", text(tmp_path / name)).group(0)
        edit(name, before, f"{before}\n    {row.strip()}\n    ")

    append("data_loader/sources.py", example("def diabetes"))
    edit("data_loader/__init__.py", "from data_loader.sources import ", "from data_loader.sources import diabetes, ")
    add_row("data_loader/__init__.py", "DATASETS", example('"diabetes"'))
    append("networks/ffn.py", example("def bottleneck").replace("layers.dense(x, width)", "layers.rms_dense(x, width)"))
    edit("networks/__init__.py", "from networks.ffn import ", "from networks.ffn import bottleneck, ")
    add_row("networks/__init__.py", "NETWORKS", example('"bottleneck"'))
    for number, method in enumerate(("    def conv2d(self, shape", "    def conv2d(self, h")):
        edit("networks/layers.py", method, textwrap.indent(example("def rms_dense", number), "    ") + "\n" + method)
    add_row("core/inference/factors.py", "STATISTICS", example('"rms_dense"'))
    append("core/inference/families.py", example("class Isotropic"))
    add_row("core/inference/optimizer.py", "METHODS", example('"isotropic"'))
    edit("core/inference/likelihoods.py", "class Categorical", example("class FixedNoise") + "\n\nclass Categorical")
    add_row("core/inference/likelihoods.py", "LIKELIHOODS", '"fixed_noise": FixedNoise,')
    edit("misc/config_keys.py", '"gaussian", "student_t"', '"gaussian", "student_t", "fixed_noise"')
    return tmp_path


def test_examples_of_extending_run(extended):
    settings = ["dataset=diabetes", "model_name=bottleneck", "optimizer=isotropic", "fisher_approx=null",
                "likelihood=fixed_noise", "noise_prior_shape=200", "noise_prior_rate=100", "epoch=1"]
    command = [sys.executable, "train.py", "--config", "config/regression/ekfac_concrete.json"]
    done = subprocess.run(command + [word for setting in settings for word in ("--set", setting)], cwd=str(extended),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0 and "isotropic on diabetes" in done.stdout, done.stdout
