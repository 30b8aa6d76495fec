import pytest

from keras_distill.errors import InputError
from keras_distill.settings.command import Command
from keras_distill.settings.teacher_losses import (
    named_losses,
    parse_teacher_losses,
    teacher_loss_weights,
)
from keras_distill.settings.teachers import (
    TeacherSettings,
    parse_anchors,
    parse_cache,
    parse_teachers,
    per_teacher,
)
from keras_distill.teachers import runtimes
from keras_distill.teachers.preprocessing import PREPROCESSINGS


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two", "lr=3,x"):
        (tmp_path / name).touch()


COMMAND = Command("test", "doc", TeacherSettings)


def parse(*given):
    return COMMAND.parse(given)


@pytest.mark.parametrize(
    ("value", "teachers"),
    [
        ("", {}),
        ("one", {"": "one"}),
        ("a=one", {"a": "one"}),
        ("a=one,b=two", {"a": "one", "b": "two"}),
        ("lr=3,x", {"": "lr=3,x"}),  # a path, if there is one
        ("_a=one,b_2=one", {"_a": "one", "b_2": "one"}),
    ],
)
def test_teachers(value, teachers):
    assert parse_teachers(value) == teachers


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("three", "--teacher=three does not exist"),
        ("a=three", "--teacher=three does not exist"),
        ("a=one,b=", "--teacher=a=one,b=: 'b=' is not NAME=PATH with a name of its own"),
        ("a=one,two", "'two' is not NAME=PATH"),
        ("a=one,a=two", "'a=two' is not NAME=PATH with a name of its own"),
        ("=one", "'=one' is not NAME=PATH"),
        ("1=one", "'1=one' is not NAME=PATH"),
        ("a b=one", "'a b=one' is not NAME=PATH"),
        ("a=one,", "'' is not NAME=PATH"),
    ],
)
def test_unusable_teachers(value, said):
    with pytest.raises(InputError) as error:
        parse_teachers(value)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("value", "names", "values"),
    [
        ("224", [], {}),
        ("224", [""], {"": "224"}),
        ("224", ["a", "b"], {"a": "224", "b": "224"}),
        ("b:224", ["a", "b"], {"a": "", "b": "224"}),
        ("b:224,a:64", ["a", "b"], {"a": "64", "b": "224"}),
        ("out:0", [""], {"": "out:0"}),  # the only teacher has no name to be told by
        ("a:out:0", ["a", "b"], {"a": "out:0", "b": ""}),
        ("", ["a", "b"], {"a": "", "b": ""}),
    ],
)
def test_values_for_all_or_each(value, names, values):
    assert per_teacher("flag", value, names) == values


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("c:1", "--flag=c:1: 'c' is unknown; the teachers are a, b."),
        ("a:1,a:2", "--flag=a:1,a:2: 'a' is there twice; the teachers are a, b."),
        ("a:1,2", "--flag=a:1,2: '2' is unknown; the teachers are a, b."),
    ],
)
def test_unusable_values(value, said):
    with pytest.raises(InputError) as error:
        per_teacher("flag", value, ["a", "b"])
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("value", "dataset", "names", "weights"),
    [
        ("absolute,relative:7", "cars196", [""], {"": {"absolute": 1.5, "relative": 7}}),
        ("relative", "folder:photos", [""], {"": {"relative": 0.3}}),
        ("", "cub", [""], {"": {}}),
        ("relative:0", "cub", [""], {"": {"relative": 0}}),
        ("relative:2", "cub", ["a", "b"], {"a": {"relative": 2}, "b": {"relative": 2}}),
        (
            "a.absolute:1,relative:2,b.absolute:1e-3",
            "cub",
            ["a", "b"],
            {"a": {"absolute": 1, "relative": 2}, "b": {"relative": 2, "absolute": 1e-3}},
        ),
        ("a.relative", "folder:photos", ["a"], {"a": {"relative": 0.3}}),
    ],
)
def test_teacher_losses(value, dataset, names, weights):
    assert parse_teacher_losses(value, dataset, names) == weights


@pytest.mark.parametrize(
    ("value", "names", "said"),
    [
        ("near", [""], "'near' is unknown; give some of absolute, relative, "),
        ("relative,relative:2", [""], "'relative' is there twice; give some of absolute, relative"),
        ("a.relative", [""], "there is no teacher 'a'; --teacher names none."),
        (".relative", [""], "there is no teacher ''; --teacher names none."),
        ("c.relative", ["a", "b"], "there is no teacher 'c'; there are a, b."),
        ("a.near", ["a", "b"], "'a.near' is unknown"),
        ("relative,a.relative", ["a", "b"], "'a.relative' is there twice"),
        ("a.relative,relative", ["a", "b"], "'relative' is there twice"),
        ("a.relative", ["a", "b"], "gives the teacher 'b' nothing to teach; add b.relative, or d"),
        ("", ["a"], "gives the teacher 'a' nothing to teach"),
        *(
            (f"relative:{weight}", [""], f"{weight!r} is not a weight; give a number, 0 or more.")
            for weight in ("much", "-1", "nan", "inf", "1:2")
        ),
    ],
)
def test_unusable_teacher_losses(value, names, said):
    with pytest.raises(InputError) as error:
        parse_teacher_losses(value, "folder:photos", names)
    assert str(error.value).startswith(f"--teacher_losses={value}")
    assert said in str(error.value)


@pytest.mark.parametrize("flag", ["teacher_cache", "image_cache"])
@pytest.mark.parametrize(("value", "mode"), [("views:8", 8), ("views:1", 1), ("off", "off")])
def test_cache_modes(flag, value, mode):
    assert parse_cache(flag, value) == mode


def test_only_teachers_have_a_clean_cache():
    assert parse_cache("teacher_cache", "clean") == "clean"
    with pytest.raises(InputError, match=r"--image_cache=clean is none of views:K .* more, off\.$"):
        parse_cache("image_cache", "clean")


CACHE_MODES = ["views", "views:", "views:0", "views:-1", "views:1.5", "views:8,", "on", "", "Off"]


@pytest.mark.parametrize("value", [*CACHE_MODES, "view:8", "views:two", "8", "views:²"])
@pytest.mark.parametrize("flag", ["teacher_cache", "image_cache"])
def test_unusable_cache_modes(flag, value):
    with pytest.raises(InputError) as error:
        parse(f"--{flag}={value}").check()
    assert str(error.value).startswith(f"--{flag}={value} is none of views:K with K of 1 or more")


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["--teacher=one"],
        ["--teacher=a=one,b=two"],
        ["--teacher=one", "--teacher_image_size=224", "--teacher_projection=pca"],
        ["--teacher=a=one,b=two", "--teacher_projection=a:pca,b:student"],
        ["--teacher=a=one,b=two", "--teacher_image_size=b:1", "--teacher_preprocessing=a:0_1"],
        ["--teacher=a=one,b=two", "--teacher_output=a:pool/relu", "--teacher_signature=b:serve"],
        ["--teacher=one", "--image_cache=views:8"],
        ["--teacher=one", "--image_cache=views:3", "--teacher_cache=views:3"],
        ["--teacher=one", "--image_cache=views:4", "--teacher_cache=clean"],
        ["--teacher=one", "--image_cache=views:4", "--teacher_cache=off"],
        ["--image_cache=views:3"],
        *(["--teacher=one", f"--teacher_preprocessing={name}"] for name in PREPROCESSINGS),
    ],
)
def test_usable_flags(given):
    parse(*given).check()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--teacher_preprocessing=0_256", "is unknown; give one of 0_255, -1_1, 0_1, imagenet_ca"),
        ("--teacher_preprocessing=a:raw", "--teacher_preprocessing=raw is unknown"),
        ("--teacher_projection=lda", "is unknown; give one of none, pca, whitened, student"),
        ("--teacher_projection=a:lda", "--teacher_projection=lda is unknown"),
        ("--teacher_projection=c:pca", "'c' is unknown; the teachers are a, b."),
        ("--teacher_image_size=large", "is not a number of pixels, such as 224"),
        ("--teacher_image_size=0", "is not a number of pixels"),
        ("--teacher_image_size=-3", "is not a number of pixels"),
        ("--teacher_image_size=a:2.5", "--teacher_image_size=2.5 is not a number of pixels"),
        ("--teacher_image_size=c:2", "'c' is unknown"),
        ("--teacher_image_size=a:2,a:3", "'a' is there twice"),
        ("--teacher=a=one,b=three", "--teacher=three does not exist"),
        (
            "--image_cache=views:4",
            "--teacher_cache=views:8 and --image_cache=views:4 must name the same views",
        ),
    ],
)
def test_unusable_flags(given, said):
    with pytest.raises(InputError) as error:
        parse("--teacher=a=one,b=two", given).check()
    assert given.partition("=")[0] in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--teacher_runtime=torch"], "`teacher_runtime=torch` is unknown; give one of auto, ker"),
        (["--teacher_runtime=a:torch"], "`teacher_runtime=torch` is unknown"),
        (["--teacher_runtime=b:onnx"], "`teacher_runtime=onnx` needs tf2onnx; install by pip"),
        (
            ["--teacher_runtime=keras", "--teacher_cache=off"],
            "--teacher_runtime=keras has no effect with --teacher_cache=off",
        ),
    ],
)
def test_unusable_runtimes(given, said, monkeypatch):
    monkeypatch.setattr(runtimes, "missing_packages", lambda: ["tf2onnx"])
    parse("--teacher=a=one,b=two", "--teacher_runtime=a:keras").check()
    with pytest.raises(InputError) as error:
        parse("--teacher=a=one,b=two", *given).check()
    assert str(error.value).startswith(said)


@pytest.mark.parametrize("value", ["-1", "nan", "lots"])
def test_unusable_sizes_of_a_cache(value, capsys):
    with pytest.raises(SystemExit) as ended:
        COMMAND.run(lambda flags: 0, [f"--cache_max_gb={value}"])
    assert ended.value.code == 2
    assert f"--cache_max_gb={value}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "weights"),
    [
        ([], {"relative": 0.3}),
        (["--hint"], {"hint": 100.0}),
        (["--attention"], {"attention": 1000.0}),
        (["--hint", "--teacher_losses=relative"], {"relative": 0.3, "hint": 100.0}),
        (["--hint", "--teacher_losses="], {"hint": 100.0}),
        (["--hint", "--teacher_losses=hint:7"], {"hint": 7.0}),
        (["--hint", "--attention"], {"attention": 1000.0, "hint": 100.0}),
    ],
)
def test_short_flags_of_losses(given, weights):
    assert teacher_loss_weights(parse("--teacher=one", *given), "cub") == {"": weights}
    several = parse("--teacher=a=one,b=two", *given)
    assert teacher_loss_weights(several, "cub") == {"a": weights, "b": weights}


def test_named_losses_are_read_again_as_they_held(tmp_path):
    """What a run writes down, `text`, means the same when it is a flag file."""
    for given in (["--hint"], ["--hint", "--teacher_losses=relative"], ["--attention"], []):
        settings = parse("--teacher=one", *given)
        weights = teacher_loss_weights(settings, "cub")
        settings = settings.replace(teacher_losses=named_losses(settings))
        (tmp_path / "flags.txt").write_text(COMMAND.text(settings))
        assert teacher_loss_weights(parse("--flagfile=flags.txt"), "cub") == weights


@pytest.mark.parametrize(
    "given",
    [
        "--teacher_losses=relative",
        "--teacher_losses=absolute:1",
        "--teacher_projection=pca",
        "--teacher_image_size=224",
        "--teacher_preprocessing=0_1",
        "--teacher_output=pool",
        "--teacher_signature=serve",
        "--hint_layers=a:b",
        "--attention_layers=a:b",
        "--anchors=all",
        "--anchors=queue:9",
        "--hint",
        "--attention",
        "--cache_features",
        "--teacher_runtime=keras",
    ],
)
def test_what_describes_a_teacher_needs_one(given):
    with pytest.raises(InputError) as error:
        parse(given).check()
    assert str(error.value).startswith(f"{given} needs a --teacher to learn from; give one, or le")
    parse(given, "--teacher=").check()  # the remedy, and what each run writes down
    parse(given, "--teacher=one").check()


def test_no_teacher_has_no_losses():
    assert teacher_loss_weights(parse(), "cub") == {}


def test_anchors():
    assert parse_anchors("all") is None
    assert parse_anchors("queue:4096") == 4096
    for value in ("", "none", "queue", "queue:", "queue:0", "queue:-1", "queue:all", "views:8"):
        with pytest.raises(InputError) as error:
            parse(f"--anchors={value}").check()
        assert str(error.value) == (
            f"--anchors={value} is neither all nor queue:N with N of 1 or more."
        )


def test_anchors_without_their_loss():
    for losses in ("relative", "a.relative,b.absolute"):
        teacher = "a=one,b=two" if "a." in losses else "one"
        given = f"--teacher={teacher}", f"--teacher_losses={losses}"
        assert teacher_loss_weights(parse(*given, "--anchors=all"), "cub")
        with pytest.raises(InputError) as error:
            teacher_loss_weights(parse(*given, "--anchors=queue:9"), "cub")
        assert str(error.value) == (
            "--anchors=queue:9 has no effect without the loss; add anchor_kl to --teacher_losses."
        )
    several = parse("--teacher=a=one,b=two", "--teacher_losses=a.relative,b.anchor_kl:2")
    weights = teacher_loss_weights(several.replace(anchors="queue:9"), "cub")
    assert weights == {"a": {"relative": 0.3}, "b": {"anchor_kl": 2}}
