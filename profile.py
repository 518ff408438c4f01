#!/usr/bin/env python3
"""The opclock command line from a checkout: `python profile.py --help`.

The standard library has a module of this name, and cProfile, torch._dynamo and torch.export
import it. So when this file is imported rather than run, it becomes that module.
"""

import sys


def _become_the_standard_library() -> None:
    import importlib.util
    import os
    import sysconfig

    path = os.path.join(sysconfig.get_path("stdlib"), "profile.py")
    spec = importlib.util.spec_from_file_location("profile", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"the standard library's profile module is not at {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["profile"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    from profiler.cli import main

    sys.exit(main())
_become_the_standard_library()
