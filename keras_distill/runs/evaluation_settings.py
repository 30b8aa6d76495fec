"""Settings of an evaluation, completed by the run of the model."""

from keras_distill.runs.directory import RunDirectory
from keras_distill.runs.settings import inherit_settings, read_settings, run_of
from keras_distill.settings.command import flag_files
from keras_distill.settings.evaluation import EvaluateSettings, protocol_of


def run_of_flag_files() -> str:
    """Returns the run whose flags.txt is the last flag file, if it has a product; else empty."""
    runs = [str(file.parent) for file in flag_files() if file.name == "flags.txt"]
    return next((run for run in reversed(runs) if RunDirectory(run).product.is_file()), "")


def completed_by_run(settings: EvaluateSettings) -> tuple[EvaluateSettings, str]:
    """Takes settings that are not given from the model's run, and chooses the protocol.

    Args:
        settings: The settings, with a model.

    Returns:
        The settings with a protocol, and lines for people about what was taken.

    Raises:
        InputError: If a setting of the run cannot be used here.
    """
    run = run_of(settings.model)
    described = settings if run is None or settings.pairs else read_settings(run)
    protocol = protocol_of(described)
    settings = settings.replace(protocol=settings.protocol or protocol)
    if run is None:
        return settings, ""
    names = ("degrade",) if settings.pairs else ("dataset", "degrade", "word_vectors")
    settings, _, said = inherit_settings(settings, run, names)
    return settings, said
