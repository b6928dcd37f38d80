"""The examples run, are short, and end with an error if what they claim is not so."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MAX_LINES = 80
SAYS = {
    "01_linear_vae_is_ppca.py": ["exact pPCA", "linear VAE", "They agree"],
    "02_digits_scikit_learn.py": ["latent_dim", "Held-out log p(x)", "Accuracy"],
    "03_torch_custom_model.py": ["exact pPCA", "IWAE", "StickingTheLanding"],
    "04_learned_noise.py": ["1.0         1.0000", "learned", "Picture: runs"],
    "05_anomalies_and_denoising.py": ["AUROC", "learned beta", "RMSE"],
}


def run(example: Path) -> tuple[str, object]:
    """Run an example in this process, in which everything is imported already; return what it
    prints, and what it ends with: None where its claim holds.
    """
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            runpy.run_path(str(example), run_name="__main__")
        except SystemExit as end:
            return out.getvalue(), end.code
    return out.getvalue(), None


def test_each_example_is_expected_to_say_something() -> None:
    assert [path.name for path in EXAMPLES] == list(SAYS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_short_opens_with_what_it_shows_and_checks_itself(example: Path) -> None:
    text = example.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    assert text.startswith('"""')
    assert "raise SystemExit(" in text


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_and_its_claim_holds(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed, end = run(example)
    assert end is None, printed
    assert [words for words in SAYS[example.name] if words not in printed] == []
    if "Picture: " in printed:
        picture = tmp_path / printed.split("Picture: ")[1].split()[0]
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_an_example_whose_claim_fails_ends_with_an_error(tmp_path: Path) -> None:
    text = EXAMPLES[0].read_text(encoding="utf-8")
    broken = tmp_path / "broken.py"
    broken.write_text(text.replace("max_steps=3000", "max_steps=30"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(broken)],
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert "differs from pPCA" in done.stderr
