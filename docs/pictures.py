"""Draw the documents' pictures with headless Chromium: `make pictures`.

The pictures show a small study of made-up reviews, which takes some minutes, or a study in
results/: `make pictures STUDY=name`. The report is written first. Optuna Dashboard is served until
its picture is drawn. Without STUDY, the figure that `make bench-search` has written is drawn too.
"""

import argparse
import contextlib
import csv
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import tuning
from tuning.report.dashboard_server import HOST, dashboard, page_of
from tuning.report.page import write_report
from tuning.results import ResultsDir
from tuning.study.handle import StudyHandle

FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)


PARTS = ("battery", "screen", "cable", "case", "sound", "keyboard", "charger", "strap", "lens")
TIMES = ("after a week", "out of the box", "every morning", "on the train", "for the price")
DEGREES = ("really", "quite", "very", "that")
WORDS = {
    1: ("excellent", "solid", "quiet", "fast", "lovely", "reliable"),
    0: ("poor", "cheap", "noisy", "slow", "awful", "fragile"),
}
SHARE_OF_OTHER_OPINIONS = 0.15
N_REVIEWS, N_TRIALS, EPOCHS = 3000, 12, 4

DOCS = Path(__file__).absolute().parent
REGRET = Path("results/bench/search.html")


def made_up_opinion(rng: random.Random, opinion: int) -> str:
    """Return a sentence with an opinion: 1 is good, 0 is bad. Every second sentence is negated."""
    negated = rng.randrange(2)
    word = rng.choice(WORDS[opinion ^ negated])
    verb = "is not" if negated else "is"
    return f"The {rng.choice(PARTS)} {verb} {rng.choice(DEGREES)} {word} {rng.choice(TIMES)}."


def made_up_review(rng: random.Random, label: int) -> str:
    """Return a review of some sentences, most of which agree with its label."""
    return " ".join(
        made_up_opinion(rng, label ^ (rng.random() < SHARE_OF_OTHER_OPINIONS))
        for _ in range(rng.choice((1, 3, 5)))
    )


def made_up_study(folder: Path) -> tuple[ResultsDir, str]:
    """Search, confirm and export the default search space on made-up reviews. Return the results
    folder and the name of the study.
    """
    rng = random.Random(0)  # noqa: S311 - the numbers are no secrets
    # The report shows the path of the data, so the path is relative.
    data = Path("made_up_reviews.csv")
    with contextlib.chdir(folder):
        with data.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("text", "label"))
            for number in range(N_REVIEWS):
                label = number % 2
                writer.writerow((made_up_review(rng, label), label))
        study = tuning.tune(data=data, n_trials=N_TRIALS, epochs=EPOCHS, results=folder / "results")
        study.export()
    return ResultsDir(folder / "results"), study.name


def shoot(browser: str, url: str, out: Path, *, height: int) -> None:
    """Write a screenshot, 1280 pixels wide, to `out`."""
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            *FLAGS.split(),
            "--hide-scrollbars",
            f"--window-size=1280,{height}",
            "--virtual-time-budget=30000",
        ]
        subprocess.run(
            [*command, f"--user-data-dir={profile}", f"--screenshot={out}", url],
            check=True,
            capture_output=True,
            timeout=120,
        )


def main() -> None:
    """Write docs/report.png and docs/dashboard.png, and docs/regret.png if its figure exists."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study")
    parser.add_argument("--storage", default=os.environ.get("STORAGE") or None)
    arguments = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("error: Pictures need Chromium; on Debian: apt-get install chromium.")
    if arguments.study:
        draw(browser, ResultsDir(Path("results")), arguments.study, storage=arguments.storage)
        return
    if REGRET.exists():
        shoot(browser, REGRET.absolute().as_uri(), DOCS / "regret.png", height=1216)
    with tempfile.TemporaryDirectory() as folder:
        draw(browser, *made_up_study(Path(folder)), storage=None)


def draw(browser: str, results: ResultsDir, study: str, *, storage: str | None) -> None:
    """Draw both pictures of a study."""
    folder, url = results.existing(study), results.storage_url(storage)
    page, _ = write_report(StudyHandle(results, folder, url))
    shoot(browser, page.absolute().as_uri(), DOCS / "report.png", height=1500)
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    address = f"http://{HOST}:{port}{page_of(results, study, storage_url=url)}"
    with dashboard(url, port=port):
        shoot(browser, address, DOCS / "dashboard.png", height=1250)


if __name__ == "__main__":
    main()
