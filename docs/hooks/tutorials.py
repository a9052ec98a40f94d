"""A hook of MkDocs: runs docs/tutorials/*.py, scripts in jupytext's percent format, and makes pages of them.

Every script runs from its first cell to its last in a kernel of its own, in the repository's folder. It becomes a
Markdown page like all others, so that `mkdocs build --strict` checks its links; code, printed text, tables and figures
follow each other as in a notebook. A cell that fails makes the build fail.

In a script,

    # %% alt="Predictive band over one input"

describes the figure of a cell for those who do not see it, and

    # ---
    # needs: PACKAGE
    # ---

at the top names an optional package: where it is not installed, the page shows the code alone, and says so. With the
environment variable EXECUTE_TUTORIALS=0, no script is run.
"""
import base64
import concurrent.futures
import importlib.util
import os
import pathlib
import re
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

FOLDER = "tutorials"  # in docs/
CELL_SECONDS = 600    # after which a cell fails
SCRIPTS_AT_ONCE = 2
MISSING = """!!! note "Not executed"
    The package `{package}` was not installed where these pages were built: this page shows the code without its output.
"""
SKIPPED = """!!! note "Not executed"
    These pages were built with `EXECUTE_TUTORIALS=0`.
"""
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Rendered(NamedTuple):
    """A page and its figures."""

    markdown: str
    figures: Dict[str, bytes]  # name of the file -> PNG


class ScriptPage(File):
    """A script whose content is a Markdown page. Links to the script lead to the page."""

    def is_documentation_page(self) -> bool:
        return True


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Puts a page in the place of every script."""
    root = pathlib.Path(config.config_file_path).parent
    scripts = [file for file in files if file.src_uri.startswith(f"{FOLDER}/") and file.src_uri.endswith(".py")]
    with concurrent.futures.ThreadPoolExecutor(SCRIPTS_AT_ONCE) as pool:
        pages = list(pool.map(lambda file: page_of(pathlib.Path(config.docs_dir) / file.src_uri, root), scripts))
    for file, page in zip(scripts, pages):
        files.remove(file)
        files.append(ScriptPage.generated(config, file.src_uri, content=page.markdown))
        for name, png in page.figures.items():
            files.append(File.generated(config, f"{FOLDER}/{name}", content=png))
    return files


def page_of(path: pathlib.Path, root: pathlib.Path) -> Rendered:
    """Runs a script in the folder `root`, unless something speaks against it, and returns its page.

    Raises PluginError if a cell fails.
    """
    import jupytext

    notebook = jupytext.read(path)
    note = _why_not(header(path.read_text(encoding="utf-8")).get("needs"))
    if not note:
        _execute(notebook, path, root)
    page = render(notebook, path.stem)
    title, _, rest = page.markdown.partition("\n")
    end = f"*This page is the script `{path.relative_to(root).as_posix()}`.*\n"
    return page._replace(markdown=f"{title}\n\n{note}\n{rest}\n{end}")


def header(script: str) -> Dict[str, str]:
    """Returns the entries `# name: value` between two lines `# ---` at the top of a script."""
    found = re.match(r"# ---\n((?:# .*\n)*?)# ---\n", script)
    return dict(line[2:].split(": ", 1) for line in found.group(1).splitlines()) if found else {}


def render(notebook: Any, name: str) -> Rendered:
    """Returns the page of an executed notebook; its figures are called NAME_1.png, NAME_2.png, ..."""
    parts: List[str] = []
    figures: Dict[str, bytes] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            parts.append(cell["source"])
        elif cell["cell_type"] == "code":
            parts.append(_block("python", cell["source"]))
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if "image/png" in data:
                    figure = f"{name}_{len(figures) + 1}.png"
                    figures[figure] = base64.b64decode(data["image/png"])
                    parts.append(f"![{cell['metadata'].get('alt', 'Figure')}]({figure})")
                elif 'class="dataframe"' in data.get("text/html", ""):
                    parts.append(_table(data["text/html"]))
                elif "text/plain" in data:
                    parts.append(_block("text", data["text/plain"]))
                elif output["output_type"] == "stream" and output["name"] == "stdout":  # stderr: bars of progress
                    parts.append(_block("text", output["text"]))
    return Rendered("\n\n".join(part for part in parts if part) + "\n", figures)


def _why_not(package: Optional[str]) -> str:
    """Returns the note that a script was not run, or an empty text if it is to run."""
    if os.environ.get("EXECUTE_TUTORIALS") == "0":
        return SKIPPED
    if package and importlib.util.find_spec(package) is None:
        return MISSING.format(package=package)
    return ""


def _execute(notebook: Any, path: pathlib.Path, root: pathlib.Path) -> None:
    """Runs all cells in a kernel of the Python that runs MkDocs; `notebook` then has their outputs."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from traitlets.config import Config

    settings = Config()
    with tempfile.TemporaryDirectory() as sockets:
        if os.name == "posix":  # sockets in a private folder, instead of open ports
            settings.KernelManager.update(transport="ipc", ip=os.path.join(sockets, "kernel"))
        client = NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3", config=settings,
                                resources={"metadata": {"path": str(root)}})
        try:
            client.execute()
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise PluginError(f"{path.relative_to(root)}: {ANSI.sub('', str(error))}") from None


def _block(language: str, text: str) -> str:
    text = ANSI.sub("", text).strip("\n")
    return f"````{language}\n{text}\n````" if text else ""


def _table(html: str) -> str:
    """Returns the table of a DataFrame, without pandas' own style."""
    table = re.search(r"<table.*</table>", html, re.DOTALL).group(0)  # type: ignore[union-attr]
    return re.sub(r"<table[^>]*>", "<table>", re.sub(r' style="[^"]*"', "", table))
