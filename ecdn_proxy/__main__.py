"""`python -m ecdn_proxy` and the command `ecdn-proxy`."""

from ecdn_proxy.front.cli import main

if __name__ == "__main__":
    main(prog_name="ecdn-proxy")
