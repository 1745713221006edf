"""Options that spike and compare share, and the checks of their values."""

import argparse
import re
import sys

from . import sale


def add_common(parser, connections=64, threads=None):
    parser.add_argument("--connections", type=number(1, 4096), default=connections, metavar="C",
                        help=f"default {connections}")
    parser.add_argument("--threads", type=number(1, 64), default=threads, metavar="N",
                        help=f"of wrk; a divisor of C, default {threads or 'half the cores'}")
    parser.add_argument("--dir", metavar="DIR", help="directory of the stack")


def parse(parser):
    arguments = parser.parse_args()
    arguments.threads = arguments.threads or sale.default_threads(arguments.connections)
    if arguments.connections % arguments.threads:
        parser.error(f"{arguments.connections} connections cannot be shared equally by {arguments.threads} threads")
    return arguments


def number(least, most):
    def parse_number(text):
        if not re.fullmatch(r"[0-9]{1,15}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {least} to {most}")
        return int(text)
    return parse_number


def seconds(text):
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) or not 0.01 <= float(text) <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not a time from 0.01 to 3600 seconds")
    return float(text)


def sku(text):
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:~-]{0,63}", text):
        raise argparse.ArgumentTypeError("a sku has 1 to 64 of A-Z a-z 0-9 . _ : ~ - and starts with a letter or digit")
    return text


def share(text):
    if not re.fullmatch(r"[01](\.[0-9]{1,6})?|0?\.[0-9]{1,6}", text) or not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share from 0 to 1")
    return float(text)


def factor(text):
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", text) or not 1 <= float(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not a factor from 1 to 100")
    return float(text)


def complainer(program):
    def report(problem, status):
        print(f"{program}: {problem}", file=sys.stderr)
        return status
    return report
