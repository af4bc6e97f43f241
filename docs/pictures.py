"""Draw the documents' pictures from a study with headless Chromium: `make pictures STUDY=name`.

The report is written first. Optuna Dashboard is served until its picture is drawn.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tuning.report.dashboard_server import HOST, make_server
from tuning.report.page import write_report
from tuning.results import ResultsDir
from tuning.study.study import load_study

FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)


def shoot(browser: str, url: str, out: Path, *, height: int) -> None:
    """One screenshot, 1280 pixels wide."""
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
    """Write docs/report.png and docs/dashboard.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study")
    parser.add_argument("--storage", default=os.environ.get("STORAGE") or None)
    arguments = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("error: Pictures need Chromium; on Debian: apt-get install chromium.")
    results = ResultsDir(Path("results"))
    folder, url = results.existing(arguments.study), results.storage_url(arguments.storage)
    page, _ = write_report(results, folder, storage_url=url)
    here = Path(__file__).parent
    shoot(browser, page.absolute().as_uri(), here / "report.png", height=1500)
    study_id = load_study(results, folder, storage_url=url)._study_id
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    with make_server(results, storage_url=url, port=port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shoot(
            browser,
            f"http://{HOST}:{port}/dashboard/studies/{study_id}",
            here / "dashboard.png",
            height=1250,
        )
        server.shutdown()


if __name__ == "__main__":
    main()
