"""The house stays as docs/architecture.md draws it: rooms in their order, small folders, one meaning a name."""

import ast
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from feast.repo_operations import get_repo_files, read_feastignore

from tests.test_floors import FLOORS, ROOT

LARGEST = 17
"""Modules in a folder, at most."""
SHORT = 40
"""Lines; a shorter module with a single importer belongs into that one."""

ROOMS = {
    "registry": """
        errors text settings progress database records rows serving_state gates access consumers versions promotions
        registry private_folder
    """,
    "feature_repo": """
        schemas settings entities ray_cluster log ingest history declaration online broker store forgetting correction
        definitions
    """,
    "training": """
        settings json_lines encoding modality metrics inspection runs blocks autoencoder forecast clue backfill pinned
        heads baselines evaluation scaling
    """,
    "serving": "settings bounded_threads client operations arrivals state reads http api gateway refresh running",
    "infra": "settings migrations portrait generator jobs tables demo cli",
}
"""The rooms of each floor from below: each imports only from those before it."""

FEAST_ROOT = {"definitions.py", "entities.py", "ray_cluster.py", "schemas.py", "settings.py"}

ENTRIES = {
    "infra/cli/main.py",
    "feature_repo/definitions.py",
    "infra/migrations/env.py",
    "serving/gateway/haproxy_launcher.py",
}
"""Modules that nobody imports: programs, and what Feast and Alembic load."""

ONE_CLASS_PROTOCOLS = {
    "Broker": "its twin in memory, in the tests, holds every broker to one behaviour",
    "VectorReader": "its class is a floor above, which hands it down",
}
"""Protocols with one class in production, and why they are no plain type."""

APART = {"serving/refresh/build.py": "it loads Feast and torch, which who starts shards does without"}
"""Short modules with one importer, and why they stay apart."""

ONE_A_KIND = {"feature_repo/ingest/adapters", "infra/cli", "serving/api"}
"""Folders of which each module is one of a kind (a data set, a group of commands, of routes), however short."""

EXPORTED = {
    "portrait.feature_repo.declaration.declaration": "declare",
    "portrait.feature_repo.declaration.offline_store": "PortraitDuckDBOfflineStore",
    "portrait.feature_repo.entities": "item service user",
    "portrait.feature_repo.online.redis": "PortraitRedisOnlineStore",
    "portrait.feature_repo.online.sqlite": "PortraitSqliteOnlineStore",
    "portrait.infra.cli.main": "main",
    "portrait.serving.client": "AsyncClient Client ClientError Embedding Embeddings",
    "portrait.training.heads.head": "load_head",
}

PARTICIPLES = """
begun bound brought built chosen cut done drawn driven fallen forgotten found given gone grown held hidden kept known
laid learnt led left lost made meant met paid put read run said seen sent set shown spent split spread stood taken told
understood won written
"""
NOUNS = "cut embed feed need read run seed set speed split spread"
"""Words of that form that are nouns or verbs too."""


def tracked(*patterns: str) -> list[Path]:
    """Files of the repository, those that are new and not ignored included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout.splitlines()
    return sorted({ROOT / name for name in names if (ROOT / name).is_file()})


@cache
def modules() -> dict[str, Path]:
    """Every module of the five floors by the name it is imported by."""
    files = tracked(*(f"{floor}/*.py" for floor in FLOORS))
    return {dotted(file): file for file in files}


def dotted(file: Path) -> str:
    return "portrait." + ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def shown(file: Path) -> str:
    return str(file.relative_to(ROOT))


def room(file: Path) -> str:
    """The room of a module on its floor: a folder, or the module itself."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return parts[1] if len(parts) > 1 else parts[0]


@cache
def imports(file: Path, also_for_types: bool = True) -> set[Path]:
    """The modules of the floors that a file imports."""
    found = set()
    skipped: set[int] = set()
    nodes = list(ast.walk(tree(file)))
    for node in nodes if not also_for_types else ():
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped |= {id(inner) for part in node.body for inner in ast.walk(part)}
    for node in nodes:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        else:
            continue
        found |= {modules()[name] for name in names if name in modules()}
    return {path for path in found if path.name != "__init__.py"}


@cache
def importers() -> dict[Path, set[Path]]:
    """Who imports each module, among the floors' modules."""
    found: dict[Path, set[Path]] = defaultdict(set)
    for file in modules().values():
        for path in imports(file):
            found[path].add(file)
    return dict(found)


def definitions(kind: type[ast.AST]) -> Iterator[tuple[Path, ast.AST]]:
    for file in modules().values():
        yield from ((file, node) for node in tree(file).body if isinstance(node, kind))


@pytest.mark.parametrize("floor", FLOORS)
def test_rooms_import_only_from_rooms_below(floor: str) -> None:
    order = ROOMS[floor].split()
    files = [
        file for file in modules().values() if file.relative_to(ROOT).parts[0] == floor and room(file) != "__init__"
    ]
    assert {room(file) for file in files} == set(order), "a room is missing in ROOMS, or stands there and is gone"
    upward = {
        f"{shown(file)} imports {shown(other)}"
        for file in files
        for other in imports(file, also_for_types=False)
        if other.relative_to(ROOT).parts[0] == floor and order.index(room(other)) > order.index(room(file))
    }
    assert upward == set()


@pytest.mark.parametrize("floor", FLOORS)
def test_the_architecture_page_lists_the_rooms_in_this_order(floor: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    folders = [name for name in ROOMS[floor].split() if (ROOT / floor / name).is_dir()]
    assert re.findall(rf"^\| `{floor}/(\w+)/` \|", page, re.MULTILINE) == folders


def test_no_folder_is_larger_than_one_can_take_in() -> None:
    sizes = Counter(file.parent for file in modules().values() if file.name != "__init__.py")
    assert {shown(folder): size for folder, size in sizes.items() if size > LARGEST} == {}


def test_the_root_of_the_feature_repository_is_feasts_and_the_teams() -> None:
    folder = ROOT / "feature_repo"
    files = [file for file in tracked("feature_repo/*.py") if file.name != "__init__.py"]
    assert {file.name for file in files if file.parent == folder} == FEAST_ROOT
    ours = {str(file.relative_to(folder)) for file in files} - {"definitions.py"}
    assert set(read_feastignore(folder)) == ours, (
        "feature_repo/.feastignore lists each module of ours, and nothing else"
    )
    assert get_repo_files(folder) == [folder / "definitions.py"]


def test_no_short_module_has_a_single_importer() -> None:
    found = importers()
    short = {
        shown(file): [shown(other) for other in found[file]]
        for file in modules().values()
        if file.name != "__init__.py"
        and shown(file.parent) not in ONE_A_KIND
        and shown(file) not in APART
        and len(file.read_text().splitlines()) < SHORT
        and len(found.get(file, ())) == 1
    }
    assert short == {}


def test_a_class_name_means_one_thing() -> None:
    """But for the client's errors, which are called like those of the registry that they stand for."""
    places: dict[str, list[str]] = defaultdict(list)
    for file, node in definitions(ast.ClassDef):
        assert isinstance(node, ast.ClassDef)
        if file != ROOT / "serving" / "client" / "errors.py":
            places[node.name].append(shown(file))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


@cache
def members(node: ast.ClassDef) -> set[str]:
    """Methods and attributes of a class, those that its methods set included."""
    names = {item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)}
    targets = [item.target for item in node.body if isinstance(item, ast.AnnAssign)]
    targets += [target for item in node.body if isinstance(item, ast.Assign) for target in item.targets]
    names |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    stored = (part for part in ast.walk(node) if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store))
    return names | {part.attr for part in stored if isinstance(part.value, ast.Name) and part.value.id == "self"}


def test_a_protocol_has_two_implementations_or_a_reason() -> None:
    classes = [(file, node) for file, node in definitions(ast.ClassDef) if isinstance(node, ast.ClassDef)]
    protocols = [node for _, node in classes if any(ast.unparse(base).startswith("Protocol") for base in node.bases)]
    by_name = {node.name: node for _, node in classes}

    @cache
    def all_members(node: ast.ClassDef) -> set[str]:
        bases = (by_name.get(ast.unparse(base).split("[")[0]) for base in node.bases)
        return members(node).union(*(all_members(base) for base in bases if base is not None))

    lonely = {}
    for protocol in protocols:
        wanted = all_members(protocol) - {"__init__"}
        if wanted <= {"__call__"}:
            continue  # a function's signature
        fitting = [node.name for _, node in classes if node not in protocols and wanted <= all_members(node)]
        if len(fitting) < 2:
            lonely[protocol.name] = fitting
    assert lonely.keys() == ONE_CLASS_PROTOCOLS.keys(), lonely


@pytest.mark.parametrize("module", EXPORTED)
def test_the_names_that_users_have_in_files_of_their_own_are_there(module: str) -> None:
    found = import_module(module)
    assert [name for name in EXPORTED[module].split() if not hasattr(found, name)] == []


def test_every_module_is_imported() -> None:
    named = {name for file in modules().values() for name in re.findall(r"portrait(?:\.\w+)+", file.read_text())}
    named |= set(re.findall(r"portrait(?:\.\w+)+", (ROOT / "feature_repo" / "feature_store.yaml").read_text()))
    names = {
        ".".join(parts[:depth]) for name in named for parts in [name.split(".")] for depth in range(len(parts) + 1)
    }
    by_path = {modules()[name] for name in names if name in modules()}
    versions = ROOT / "infra" / "migrations" / "versions"
    unused = {
        shown(file)
        for file in modules().values() - importers().keys() - by_path
        if file.name != "__init__.py" and file.parent != versions
    }
    assert unused == ENTRIES


def test_every_dotted_name_in_a_string_is_there() -> None:
    """Tables of families, heads, adapters, baselines and stores import by name, and only when one is asked for."""
    found = {
        match.groups()
        for file in modules().values()
        for match in re.finditer(r'"(portrait(?:\.\w+)+):?([A-Z]\w+)?"', file.read_text())
    }
    assert len(found) > 25
    for dotted_name, attribute in found:
        module, _, last = dotted_name.rpartition(".")
        file = modules().get(dotted_name) or modules().get(module)
        assert file is not None, dotted_name
        wanted = attribute or (last if dotted_name not in modules() else None)
        assert wanted is None or re.search(
            rf"^(class|def|{wanted} =).*\b{wanted}\b|^{wanted}\b", file.read_text(), re.M
        ), wanted


def test_every_name_is_used() -> None:
    words = Counter(
        word
        for file in tracked("*.py", "*.toml", "*.md", "*.yaml", "*.mako")
        for word in re.findall(r"\w+", file.read_text())
    )
    unused = [
        f"{shown(file)}: {node.name}"
        for kind in (ast.ClassDef, ast.FunctionDef)
        for file, node in definitions(kind)
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        and words[node.name] == 1
        and not node.decorator_list
        and "migrations" not in file.parts
    ]
    assert unused == []


def test_no_function_is_called_by_a_bare_participle() -> None:
    found = [
        f"{shown(file)}: {node.name}"
        for kind in (ast.FunctionDef, ast.AsyncFunctionDef)
        for file, node in definitions(kind)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (name := node.name.strip("_")) not in NOUNS.split()
        and (name in PARTICIPLES.split() or re.fullmatch(r"[a-z]+ed", name))
    ]
    assert found == []


DOCS = [
    file
    for file in tracked("*.md")
    if file.name != "CHANGELOG.md"  # it tells of what was
]


@pytest.mark.parametrize("page", [shown(page) for page in DOCS])
def test_every_path_that_docs_name_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    folders = "|".join([*FLOORS, "docs", "tests", "benchmarks", "examples", "portrait"])
    paths = re.findall(rf"(?<![\w/.$-])((?:{folders})/[\w/.-]*[\w/])", text)
    links = [link for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) if not re.match(r"[a-z]+:", link)]
    assert [path for path in paths if not (ROOT / path.rstrip("/.")).exists()] == []
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_the_modules_that_forked_processes_preload_are_there() -> None:
    """One that is not there is passed over without a word, and each process imports what it needs for itself."""
    named = re.findall(r'"((?:portrait|tests)\.[\w.]+)"', (ROOT / "tests" / "forks.py").read_text())
    assert named and [name for name in named if find_spec(name) is None] == []
