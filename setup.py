"""What pyproject.toml cannot say: the wheel, editable or not, also holds portrait_old_names.pth."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

OLD_NAMES = "portrait_old_names.pth"


class BuildWithOldNames(build_py):
    """Builds the packages, and puts the file beside them that makes names from before 0.2 importable."""

    def run(self) -> None:
        """Build; in an editable wheel nothing is built, and the file goes straight to what is installed."""
        super().run()
        target = self.get_finalized_command("install").install_lib if self.editable_mode else self.build_lib
        shutil.copyfile(OLD_NAMES, Path(target) / OLD_NAMES)


setup(cmdclass={"build_py": BuildWithOldNames})
