"""Gets embeddings or other outputs from a server, without TensorFlow.

  embed    embeds --images, or each --image, and writes the vectors with their paths to --out
  predict  as embed, for any outputs of a model, such as logits: an array of each in --out; with
           --labels it also prints the labels of each image, with their probabilities
  match    tells whether two images show the same: their similarity, and by --calibration, which
           evaluate --protocol=verification has measured, the probability
  status   lists the versions of --model and their states; without --model, of all models in the
           metrics at --rest, as TF-Serving itself does not list its models
  wait     waits until --model is available, for --limit seconds
  smoke    sends one image through every signature; checks width, length 1, and agreement; with
           --golden also that the server answers the golden requests of an export as the exported
           model did, and with --rest that REST does, too

The server is TF-Serving, or `python -m keras_distill.serve`. What embed writes can be used as
--teacher of a training: vectors.npz, or vectors.npy with vectors.ids.txt next to it. Images that
cannot be embedded do not stop the others; they are listed in vectors.errors.jsonl. If the server
fails meanwhile, finished vectors are kept in vectors.npz.partial, and the same command resumes from
there.

  python -m keras_distill.client embed --model=photos --images=photos --out=vectors.npz
  python -m keras_distill.client predict --model=crowd --images=photos --out=answers.npz
  python -m keras_distill.client predict --model=tags --images=photos --out=answers.npz \
      --labels=models/tags/1
  python -m keras_distill.client match A.jpg B.jpg --model=faces --calibration=models/faces/1
  python -m keras_distill.client wait --address=gpu-box:8500 --model=photos --version=3 --limit=120
  python -m keras_distill.client smoke --model=photos --golden=models/photos/1 --rest=localhost:8501

Secrets belong in a flag file: a line --metadata=x-api-key=SECRET, given by --flagfile=FILE.

Exit codes: 0 done, 1 the server failed or the model is not as it should be, 2 unusable flags or
input, 4 some images have no embedding; everything else was written.
"""

import json
import sys
from pathlib import Path

from keras_distill.publishing import published_file
from keras_distill.settings.client import ClientCommandSettings
from keras_distill.settings.command import FAILURE, Command

VERBS = ("embed", "predict", "match", "status", "wait", "smoke")
COMMAND = Command(
    "keras_distill.client", __doc__, ClientCommandSettings, VERBS, operands={"match": "image"}
)


def main(settings: ClientCommandSettings) -> int:
    """Runs the verb; returns the exit code."""
    settings.check(COMMAND.verb)

    from keras_distill.serving.client.errors import ServingError
    from keras_distill.serving.client.opening import open_client
    from keras_distill.serving.client.verbs import FUNCTION_OF_VERB, status_of_all

    try:
        if settings.model:
            with open_client(settings, settings.model) as client:
                code, result = FUNCTION_OF_VERB[COMMAND.verb](settings, client)
        else:
            code, result = status_of_all(settings)
    except ServingError as error:
        print(f"client: {error}", file=sys.stderr)
        return FAILURE
    text = json.dumps(result, indent=2) + "\n"
    if settings.json == "-":
        print(text, end="")
    elif settings.json:
        with published_file(Path(settings.json)) as temporary:
            temporary.write_text(text)
    return code


if __name__ == "__main__":
    COMMAND.run(main)
