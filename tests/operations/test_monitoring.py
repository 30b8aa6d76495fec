import json
import re

import promql_parser
import pytest
import yaml

# The metrics of TF-Serving with their labels, as in its source: servables/tensorflow/util.cc, and
# TensorFlow's cc/saved_model/loader.cc.
_SCRAPED = {"job", "instance"}
_REQUEST = {"model_name", "API", "entrypoint", "le"} | _SCRAPED
METRICS = {
    "up": _SCRAPED,
    ":tensorflow:serving:request_count": {"model_name", "status"} | _SCRAPED,
    ":tensorflow:serving:request_latency_bucket": _REQUEST,
    ":tensorflow:serving:runtime_latency_bucket": {"model_name", "API", "runtime", "le"} | _SCRAPED,
    ":tensorflow:cc:saved_model:load_attempt_count": {"model_path", "status"} | _SCRAPED,
}
CODES = {
    *("ABORTED", "DATA_LOSS", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION", "INTERNAL"),
    *("INVALID_ARGUMENT", "NOT_FOUND", "OK", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED"),
    *("UNAVAILABLE", "UNKNOWN"),
}


def selectors(node):
    """The selectors of metrics in a parsed expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("args", "expr", "lhs", "param", "rhs", "vector_selector"):
        child = getattr(node, name, None)
        for one in child if isinstance(child, list) else [child]:
            if one is not None:
                yield from selectors(one)


def check(expression):
    """Parses an expression; its metrics and labels must be the server's, its codes gRPC's."""
    tree = promql_parser.parse(expression)
    found = list(selectors(tree))
    assert len(found) == len(re.findall(r":tensorflow:|\bup\{", expression)) > 0
    labels = {name for selector in found for name in METRICS[selector.name]}
    for selector in found:
        for matcher in selector.matchers.matchers:
            assert matcher.name in METRICS[selector.name], expression
            if matcher.name == "status" and "request_count" in selector.name:
                assert set(matcher.value.split("|")) <= CODES
            if matcher.name == "status" and "load_attempt" in selector.name:
                assert matcher.value in ("success", "fail")
    for grouped in re.findall(r"by \(([^)]*)\)", expression):
        assert set(grouped.split(", ")) <= labels, expression
    return found


def test_a_wrong_name_would_be_found():
    for wrong in (
        "rate(:tensorflow:serving:requests[5m])",
        'rate(:tensorflow:serving:request_count{model="x"}[5m])',
        "sum by (model) (rate(:tensorflow:serving:request_count[5m]))",
        'up{job="x"} == 0)',
    ):
        with pytest.raises((AssertionError, KeyError, ValueError)):
            check(wrong)


@pytest.fixture(scope="module")
def job(serving):
    (job,) = yaml.safe_load((serving / "monitoring" / "prometheus.yml").read_text())[
        "scrape_configs"
    ]
    return job


@pytest.fixture(scope="module")
def alerts(serving):
    (group,) = yaml.safe_load((serving / "monitoring" / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


@pytest.fixture(scope="module")
def dashboard(serving):
    return json.loads((serving / "monitoring" / "dashboard.json").read_text())


def test_prometheus_asks_the_server_of_compose(serving, job, flags, compose):
    (targets,) = job["static_configs"]
    (target,) = targets["targets"]
    host, port = target.split(":")
    assert host in compose["services"]
    assert port == flags["rest_api_port"]
    config = yaml.safe_load((serving / "monitoring" / "prometheus.yml").read_text())
    mounted = compose["services"]["prometheus"]["volumes"]
    for file in config["rule_files"]:
        assert f"./monitoring/{file}:/etc/prometheus/{file}:ro" in mounted


def test_alerts(alerts, job):
    for rule in alerts.values():
        for selector in check(rule["expr"]):
            for matcher in selector.matchers.matchers:
                assert matcher.name != "job" or matcher.value == job["job_name"]
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+m", rule.get("for", "0m"))
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "remedy"}


def test_a_request_fails_or_is_refused(alerts):
    """Each code but OK is in exactly one of the two alerts."""
    codes = []
    for name in ("RequestsFail", "RequestsRefused"):
        (pattern,) = re.findall(r'status=~"([^"]*)"', alerts[name]["expr"])
        codes += pattern.split("|")
    assert sorted(codes) == sorted(CODES - {"OK"})


def test_dashboard_has_what_grafana_needs(dashboard):
    assert {"uid", "title", "schemaVersion", "templating", "time", "panels"} <= dashboard.keys()
    assert "id" not in dashboard  # belongs to one Grafana
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    (metric,) = re.findall(r"label_values\((\S+), model_name\)", variables["model"]["definition"])
    assert "model_name" in METRICS[metric]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_panels_do_not_overlap(dashboard):
    places = [
        (column, row)
        for place in (panel["gridPos"] for panel in dashboard["panels"])
        for column in range(place["x"], place["x"] + place["w"])
        for row in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(places)) == len(places)
    assert max(column for column, _ in places) < 24


def test_panels_ask_for_metrics_of_the_server(dashboard, job):
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "5m")
            for selector in check(expression):
                for matcher in selector.matchers.matchers:
                    assert matcher.name != "job" or matcher.value == job["job_name"]
        units = {"µs"} if "latency" in str(panel["targets"]) else {"none", "percentunit", "reqps"}
        assert panel["fieldConfig"]["defaults"]["unit"] in units


def test_grafana_finds_prometheus_and_the_dashboard(serving, compose):
    folder = serving / "monitoring" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasource.yml").read_text())["datasources"]
    host, port = source["url"].removeprefix("http://").split(":")
    assert compose["services"][host]["ports"] == [f"127.0.0.1:{port}:{port}"]
    (provider,) = yaml.safe_load((folder / "dashboards.yml").read_text())["providers"]
    place = f"{provider['options']['path']}/serving.json"
    assert f"./monitoring/dashboard.json:{place}:ro" in compose["services"]["grafana"]["volumes"]
