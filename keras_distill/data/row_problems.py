"""Problems of the rows of files, gathered to be shown at once."""

from pathlib import Path

from keras_distill.errors import InputError

#: How many problems a message lists.
SHOWN = 20


class RowProblems:
    """Gathers what is wrong in rows of files, so that one message lists it all.

    Args:
        shown: How many problems the message lists; the others are counted.

    Example:
        >>> problems = RowProblems()
        >>> problems.add("labels.csv", 3, "'1.jpg' does not exist")
        >>> problems.check("`spec='labels:labels.csv'`")
        Traceback (most recent call last):
        keras_distill.errors.InputError: `spec='labels:labels.csv'` has 1 unusable row:
          labels.csv:3: '1.jpg' does not exist
        Repair or remove them.
    """

    def __init__(self, shown: int = SHOWN):
        self._shown = shown
        self._lines: list[str] = []
        self.count = 0

    def add(self, file: str | Path, place: int | str, problem: str) -> None:
        """Notes a problem.

        Args:
            file: The file.
            place: Its line, counted from 1, or what stands for it in a file without lines, such as
                `annotations[3]`; empty for the whole file.
            problem: What is wrong, without a full stop.
        """
        self.count += 1
        if len(self._lines) < self._shown:
            self._lines.append(f"{located(file, place)}: {problem}")

    def check(self, subject: str, remedy: str = "Repair or remove them.") -> None:
        """Raises an error if there are problems.

        Args:
            subject: What has them, the beginning of the message.
            remedy: What to do about them, the end of the message.

        Raises:
            InputError: If there are problems; it lists them.
        """
        if not self.count:
            return
        rows = "unusable row" if self.count == 1 else "unusable rows"
        lines = list(self._lines)
        if self.count > len(lines):
            lines.append(f"and {self.count - len(lines)} more")
        listed = "\n  ".join([f"{subject} has {self.count} {rows}:", *lines])
        raise InputError(f"{listed}\n{remedy}")


def located(file: str | Path, place: int | str) -> str:
    """Returns a file and a place in it as one text; see `RowProblems.add`."""
    return str(file) if place == "" else f"{file}:{place}"
