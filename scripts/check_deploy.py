"""usage: scripts/check_deploy.py PROMTOOL. Called by scripts/deploy-check.sh, in an environment that has what this imports.

Prints every fault that it finds, and exits with 1 if there is one.
"""

import json
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
FORMS = ["single", "sentinel", "cluster"]
# The oldest that is meant to work, and the newest that there are schemas of.
KUBERNETES = ["1.31.0", "1.37.0"]
# The documents that the thresholds of alerts come from: see the head of alerts.yml.
SOURCES = {"tuning", "capacity", "production", "sizing", "module"}
GIBIBYTE = 2**30

faults = []


def fault(where, what):
    faults.append(f"{where}: {what}")


def documents(form):
    """All manifests of a form: its files, and the Secret that secret.sh prints."""
    found = []
    for path in sorted((DEPLOY / "kubernetes" / form).glob("*.yaml")):
        found += [(path.relative_to(ROOT), document) for document in yaml.safe_load_all(path.read_text())]
    script = DEPLOY / "kubernetes" / "secret.sh"
    secret = subprocess.run(["bash", script, form], capture_output=True, text=True, check=True).stdout
    return found + [(f"secret.sh {form}", yaml.safe_load(secret))]


def check_schema(where, document):
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            fault(where, f"{document['kind']}, Kubernetes {version}: {list(error.path)}: {error.message}")


def check_form(form):
    found = documents(form)
    for where, document in found:
        check_schema(where, document)
    named = {}
    for where, document in found:
        key = (document["kind"], document["metadata"]["name"])
        if key in named:
            fault(where, f"{key} stands twice")
        named[key] = document
    keys = {
        key: set(document.get("data", {})) | set(document.get("stringData", {}))
        for key, document in named.items()
        if key[0] in ("ConfigMap", "Secret")
    }
    sets = [(where, document) for where, document in found if document["kind"] == "StatefulSet"]
    if not sets:
        fault(form, "there is no StatefulSet")
    for where, document in sets:
        check_set(where, document, named, keys)
    labels = [document["spec"]["template"]["metadata"]["labels"] for _, document in sets]
    for where, document in found:
        if document["kind"] == "Service":
            selector = document["spec"]["selector"]
        elif document["kind"] == "PodDisruptionBudget":
            selector = document["spec"]["selector"]["matchLabels"]
        else:
            continue
        if not any(selector.items() <= pod.items() for pod in labels):
            fault(where, f"{document['kind']}: no pod has the labels {selector}")
    for (kind, name), document in named.items():
        for script, text in document.get("data", {}).items():
            if kind == "ConfigMap" and script.endswith(".sh"):
                checked = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True)
                if checked.returncode:
                    fault(f"{form}: {name}: {script}", checked.stderr.strip())
    check_figures(form, named)


def check_set(where, document, named, keys):
    """That whatever a pod refers to is there."""
    spec = document["spec"]
    pod = spec["template"]["spec"]
    service = named.get(("Service", spec["serviceName"]))
    if not service:
        fault(where, f"there is no Service {spec['serviceName']}")
    if not spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items():
        fault(where, "the selector does not select the pods")
    ports = {port["name"] for container in pod["containers"] for port in container.get("ports", [])}
    for port in service["spec"]["ports"] if service else []:
        if port["targetPort"] not in ports:
            fault(where, f"the Service has the port {port['targetPort']}, which no container has")
    volumes = {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])}
    for volume in pod["volumes"]:
        volumes.add(volume["name"])
        for kind, source, name in [("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")]:
            if source in volume and (kind, volume[source][name]) not in named:
                fault(where, f"there is no {kind} {volume[source][name]}")
            for item in volume.get(source, {}).get("items", []):
                if item["key"] not in keys.get((kind, volume[source][name]), set()):
                    fault(where, f"{kind} {volume[source][name]} has no {item['key']}")
    for container in pod["containers"]:
        name = f"{where}: container {container['name']}"
        mounts = {mount["mountPath"] for mount in container.get("volumeMounts", [])}
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                fault(name, f"there is no volume {mount['name']}")
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference and reference["key"] not in keys.get(("Secret", reference["name"]), set()):
                fault(name, f"{variable['name']}: the Secret {reference['name']} has no {reference['key']}")
        for word in container.get("command", []):
            directory, _, file = word.rpartition("/")
            if directory and (directory not in mounts or file not in keys[("ConfigMap", "miroir-redis")]):
                fault(name, f"there is no {word}")
        # Variables are put in where they stand only if they were set above.
        seen = set()
        for variable in container.get("env", []):
            for used in re.findall(r"\$\((\w+)\)", variable.get("value", "")):
                if used not in seen:
                    fault(name, f"{variable['name']} needs {used}, which is not set before it")
            seen.add(variable["name"])
        for need in ("resources", "livenessProbe", "securityContext"):
            if need not in container:
                fault(name, f"has no {need}")


def check_figures(form, named):
    """The sizing for 1 TB: one core; 20% above maxmemory are requested, and 20% more are the limit. 64 GB: 77Gi and 92Gi."""
    config = named[("ConfigMap", "miroir-redis")]["data"]["redis.conf"]
    gibibytes = int(re.search(r"^maxmemory (\d+)gb$", config, re.M)[1])
    containers = named[("StatefulSet", "miroir-redis")]["spec"]["template"]["spec"]["containers"]
    resources = next(container for container in containers if container["name"] == "redis")["resources"]
    request, limit = (size(resources[kind]["memory"]) / GIBIBYTE for kind in ("requests", "limits"))
    # The document rounds to whole Gi.
    if (gibibytes, request, limit) not in [(64, 77, 92), (128, 154, 185)]:
        for what, told, wanted in [("request", request, 1.2 * gibibytes), ("limit", limit, 1.44 * gibibytes)]:
            if not math.isclose(told, wanted, rel_tol=0.001):
                fault(form, f"memory {what} of {told:.3f} Gi, not {wanted:.3f} for maxmemory {gibibytes}gb")
    if {resources["requests"]["cpu"], resources["limits"]["cpu"]} != {"1000m"}:
        fault(form, "a server needs one core, and has no use for a second")


def size(text):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", text).groups()
    return int(number) * {"Mi": 2**20, "Gi": GIBIBYTE}[unit]


def promtool(program, *words):
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        fault(f"promtool {' '.join(map(str, words[:2]))}", done.stdout + done.stderr)


def check_alerts(program):
    rules = DEPLOY / "prometheus" / "alerts.yml"
    tests = DEPLOY / "prometheus" / "alerts_test.yml"
    promtool(program, "check", "rules", rules)
    promtool(program, "test", "rules", tests)
    tested = set(re.findall(r'alertname="(\w+)"', tests.read_text()))
    for group in yaml.safe_load(rules.read_text())["groups"]:
        for rule in group["rules"]:
            if "alert" not in rule:
                continue
            if rule["alert"] not in tested:
                fault(rules.name, f"{rule['alert']} fires in no case of {tests.name}")
            if rule["labels"].get("source") not in SOURCES:
                fault(rules.name, f"{rule['alert']} names no source of its threshold")


def check_dashboard(program):
    """Every query as a recording rule: so promtool reads them. Grafana's variables get values."""
    path = DEPLOY / "grafana" / "miroir.json"
    dashboard = json.loads(path.read_text())
    variables = {"__rate_interval": "5m"} | {
        variable["name"]: "any" for variable in dashboard["templating"]["list"]
    }
    rules = []
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in variables.items():
                query = query.replace(f"${name}", value)
            if "$" in query:
                fault(path.name, f"{panel['title']}: there is no such variable: {target['expr']}")
            rules.append({"record": f"panel:{panel['id']}:{target['refId']}", "expr": query})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "queries-of-the-dashboard.yml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
        promtool(program, "check", "rules", file)


def main():
    program = sys.argv[1]
    for form in FORMS:
        check_form(form)
    check_alerts(program)
    check_dashboard(program)
    for line in faults:
        print(line, file=sys.stderr)
    if not faults:
        print("deploy: manifests, alerts and dashboard are in order")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
