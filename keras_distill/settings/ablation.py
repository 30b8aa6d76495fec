"""Settings of an ablation."""

from dataclasses import dataclass
from pathlib import Path

from keras_distill.errors import InputError
from keras_distill.settings.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class AblateSettings(Settings, group="Grid"):
    """Settings of the command `ablate`."""

    base: str = setting("", "Flag file of keras_distill.train that all variants share. Required.")
    variant: tuple[str, ...] = setting(
        (),
        'A training as "NAME: FLAGS", where FLAGS of keras_distill.train are added to --base, or '
        "none. Required, once for each variant.",
    )
    seeds: str = setting("0,1", "Seeds, with each of which every variant is trained.")
    evaluation: tuple[str, ...] = setting(
        (),
        'A measurement as "NAME: FLAGS", where FLAGS are of keras_distill.evaluate, such as '
        "--split=validation or --degrade=blur:2; by default one of the test classes. The data set "
        "is the variant's.",
    )
    ks: str = setting("1,2,4,8", "The K of Recall@K; the first one is drawn.")
    out: str = setting(
        "", "Folder; runs/NAME of the flag file or of --base if empty.", group="Output"
    )
    overwrite: bool = setting(False, "Forget what is in --out and begin again.", group="Output")
    dry_run: bool = setting(False, "Only print the commands that would be run.", group="Output")

    def check(self) -> None:
        """Rejects a missing base before anything is read.

        Raises:
            InputError: If there is none.
        """
        if not self.base:
            raise InputError("--base is required: a flag file of keras_distill.train.")
        if not Path(self.base).is_file():
            raise InputError(f"--base={self.base} does not exist.")
