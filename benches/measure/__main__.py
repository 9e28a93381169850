"""Runs the parts that are named; scripts/bench calls it, and says what the parts are."""

import argparse
import importlib
from pathlib import Path

from lab import Failed, Lab

USUAL = ["hits", "misses", "memory", "start", "tenants"]
APART = ["churn", "instructions"]


def options():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(USUAL + APART)}")
    parser.add_argument("--rounds", type=int, help="rounds of each measurement: 5")
    parser.add_argument("--seconds", type=int, help="seconds of each round: 3")
    parser.add_argument("--quick", action="store_true", help="tiny rounds, to see that all works; writes nothing")
    parser.add_argument("--write", action=argparse.BooleanOptionalAction, help="put the tables into docs/")
    parser.add_argument("--accept", action="store_true", help="take the instructions that were counted as those to compare with")
    for program in ("broker", "bare", "load", "unpaced", "upstream"):
        parser.add_argument(f"--{program}", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := set(given.parts) - {*USUAL, *APART}:
        parser.error(f"there is no part {', '.join(unknown)}")
    given.parts = given.parts or USUAL
    given.rounds = given.rounds or (2 if given.quick else 5)
    given.seconds = given.seconds or (1 if given.quick else 3)
    given.users = 10_000 if given.quick else 1_000_000
    given.tenants = 200 if given.quick else 10_000
    given.write = not given.quick if given.write is None else given.write
    return given


def main():
    given = options()
    for part in given.parts:
        try:
            with Lab(given) as lab:
                importlib.import_module(part).measure(lab, given)
        except Failed as failed:
            raise SystemExit(f"{part}: {failed}") from None


main()
