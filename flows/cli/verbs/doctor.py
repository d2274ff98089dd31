"""`threeloops doctor`: it looks at the data folder without making one."""

from __future__ import annotations

from argparse import Namespace

from artifacts.store.data_dir import named_data_folder
from flows.cli.render.doctor import print_doctor
from flows.cli.terminal import Terminal
from flows.doctor.visit import visit
from schemas.health import DoctorOutput
from tasks.runtime.progress import ProgressHub


def doctor(options: Namespace, terminal: Terminal) -> DoctorOutput:
    """What is wrong with the data folder and the machine, and its repair if asked for."""
    hub = ProgressHub()
    with terminal.progress(hub):
        output = visit(named_data_folder(), hub, repair=options.repair)
    print_doctor(terminal.out, output)
    return output
