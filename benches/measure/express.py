"""What users run today: benches/express."""

import functools
import shutil
import subprocess
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "express"
TITLES = {
    "guide": "Express with `@qlik/api`, as Qlik's guide shows",
    "cached": "the same with a cache of its own",
}


@functools.cache
def install():
    """Once, and again when the list of packages has changed."""
    lock, installed = FOLDER / "package-lock.json", FOLDER / "node_modules/installed-from"
    if installed.is_file() and installed.read_bytes() == lock.read_bytes():
        return
    subprocess.run(["npm", "ci", "--loglevel=error", "--no-audit", "--no-fund"], cwd=FOLDER, check=True)
    shutil.copy(lock, installed)


class Express:
    def __init__(self, lab, upstream, name):
        install()
        self.name, self.title, self.port = name, TITLES[name], lab.port()
        env = {"NODE_ENV": "production", "PORT": str(self.port), "QLIK_HOST": upstream.url, "CACHE": str(name == "cached")}
        self.process = lab.start(name, "node", FOLDER / "server.js", port=self.port, path="/", env=env)
