"""The live studio over HTTP: what it answers is what the estimator says, and to whom."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sklearn.frozen import FrozenEstimator

from isthmus import VAE, Autoencoder, ConditionalVAE
from isthmus.applications.imputation import LatentImputer
from isthmus.applications.with_condition import with_condition
from isthmus.data import Dataset, load
from isthmus.estimators import model_io
from isthmus.studio import server
from isthmus.studio.answers import DRAWS, Answers
from isthmus.studio.bundle import Bundle
from isthmus.training.training_log import TrainingLog, remove_training_log

DATA = load("digits")
BYTES = Dataset("bytes", (DATA.X[:150] * 255).astype(np.uint8), DATA.y[:150])
FAST = {"hidden": (16,), "epochs": 3, "random_state": 0}
TOKEN, HOST = "secret", "127.0.0.1:8631"
HOSTS = frozenset({HOST, "localhost:8631"})
API = ("items", "codes", "encode", "decode", "neighbours", "repair")


def client_of(answers, token=TOKEN, hosts=HOSTS):
    app = server.make_app(answers, TOKEN, hosts)
    headers = {"X-Isthmus-Token": token}
    return TestClient(app, base_url=f"http://{HOST}", headers=headers)


class Studio:
    """A fitted model on disk, and a client of its studio."""

    def __init__(self, model, data, folder):
        self.folder, self.data = folder / type(model).__name__, data
        model_io.save(model.fit(data.X, data.y), self.folder, data.fingerprint)
        self.bundle = Bundle.of([self.folder], data)
        self.answers = Answers([self.folder], lambda: self.bundle)
        self.model, self.client = self.bundle.estimator, client_of(self.answers)

    def ask(self, path, body, dtype):
        answer = self.client.post(f"/api/{path}", content=np.ascontiguousarray(body).tobytes())
        assert answer.status_code == 200, answer.text
        return np.frombuffer(answer.content, dtype)

    def detail(self, path, body=b""):
        answer = self.client.post(f"/api/{path}", content=body)
        assert 400 <= answer.status_code < 500
        return answer.json()["detail"]


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    few = Dataset("digits", DATA.X[:200], DATA.y[:200])
    return Studio(VAE(n_components=3, **FAST), few, tmp_path_factory.mktemp("vae"))


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conditional")
    return Studio(ConditionalVAE(n_components=2, **FAST), BYTES, folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    table = Dataset("table", np.random.default_rng(0).normal(1e6, 1, (90, 4)))
    return Studio(Autoencoder(n_components=2, **FAST), table, tmp_path_factory.mktemp("plain"))


# ---------------------------------------------------------------------- numbers


def test_the_manifest_and_its_arrays_are_those_of_the_bundle(vae):
    manifest = vae.client.get("/api/manifest").json()
    assert manifest["model"] == vae.bundle.manifest["model"]
    assert "codes" in manifest["arrays"]
    for name, about in manifest["arrays"].items():
        content = vae.client.get(f"/api/arrays/{name}").content
        sent = np.frombuffer(content, np.dtype(about["dtype"]).newbyteorder("<"))
        np.testing.assert_array_equal(sent.reshape(about["shape"]), vae.bundle.arrays[name])


def test_items_are_rows_in_the_units_of_the_data(vae, conditional):
    rows = np.array([5, 0, 149], np.int32)
    for studio, X in ((vae, DATA.X), (conditional, BYTES.X / 255.0)):
        found = studio.ask("items", rows, "<f8")
        np.testing.assert_array_equal(found, X[rows].astype(float).ravel())


def test_codes_are_those_of_the_rows(vae, plain):
    rows = np.array([7, 3], np.int32)
    q = vae.model.posterior(vae.data.X[rows])
    mean, std = vae.ask("codes", rows, "<f4").reshape(2, 2, 3)
    np.testing.assert_allclose(mean, q.mean, rtol=1e-6)
    np.testing.assert_allclose(std, q.std, rtol=1e-6)
    assert not plain.ask("codes", rows, "<f4")[4:].any()  # a code without a spread


@pytest.mark.parametrize("n", [1, 64])
def test_encode_and_decode_answer_as_the_estimator(vae, n):
    x = vae.data.X[:n].astype(np.float64)
    q = vae.model.posterior(x)
    mean, std = vae.ask(f"encode?n={n}", x, "<f4").reshape(2, n, 3)
    np.testing.assert_array_equal(mean, q.mean.astype(np.float32))
    np.testing.assert_array_equal(std, q.std.astype(np.float32))
    made = vae.ask(f"decode?n={n}", mean, "<f8").reshape(n, 8, 8)
    np.testing.assert_array_equal(made, vae.model.decode(mean.astype(np.float64)))


def test_a_conditional_model_hears_the_number_of_the_class(conditional):
    model, z = conditional.model, np.zeros((1, 2), np.float32)
    for k in (0, 7):
        label = model.classes_[k]
        made = conditional.ask(f"decode?n=1&condition={k}", z, "<f8")
        np.testing.assert_array_equal(made, model.decode(z.astype(float), condition=label).ravel())
    unknown = conditional.ask("decode?n=1", z, "<f8")
    np.testing.assert_array_equal(unknown, model.decode(z.astype(float)).ravel())
    x = conditional.ask("items", np.array([0], np.int32), "<f8")
    mean = conditional.ask("encode?n=1&condition=3", x, "<f4")[:2]
    wanted = model.transform(x.reshape(1, 8, 8), condition=model.classes_[3])
    np.testing.assert_allclose(mean, wanted.ravel(), rtol=1e-6)


def test_numbers_far_from_zero_keep_their_digits(plain):
    z = np.ones((1, 2), np.float32)
    made = plain.ask("decode?n=1", z, "<f8")
    np.testing.assert_array_equal(made, plain.model.decode(z.astype(float)).ravel())
    assert not np.array_equal(made, made.astype(np.float32))


def test_neighbours_are_the_nearest_codes(vae):
    codes = vae.bundle.arrays["codes"]
    answer = vae.ask("neighbours?k=5", codes[17], "V1").tobytes()
    rows, apart = np.frombuffer(answer[:20], "<i4"), np.frombuffer(answer[20:], "<f4")
    distances = np.linalg.norm(codes - codes[17], axis=1)
    np.testing.assert_allclose(apart, np.sort(distances)[:5], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(distances[rows], apart, rtol=1e-5, atol=1e-6)
    assert rows[0] == 17
    assert len(vae.ask("neighbours?k=100000", codes[0], "<i4")) == 2 * len(codes)


def test_repair_is_the_imputers_and_leaves_the_rest(vae):
    x = vae.data.X[0].astype(np.float64)
    holed = np.where(np.arange(8)[:, None] < 4, np.nan, x)
    full, std = vae.ask("repair", holed, "<f8").reshape(2, 8, 8)
    np.testing.assert_array_equal(full[4:], x[4:])
    assert not std[4:].any()
    imputer = LatentImputer(FrozenEstimator(vae.model), n_draws=DRAWS, random_state=0)
    wanted = imputer.fit(holed[None]).impute(holed[None])
    np.testing.assert_array_equal(full, wanted.values[0])
    np.testing.assert_array_equal(std, wanted.std[0])


def test_repair_hears_the_class(conditional):
    x = np.full(64, np.nan)  # all that is known is the class
    made = [conditional.ask(f"repair?condition={k}", x, "<f8")[:64] for k in (0, 1)]
    assert not np.array_equal(*made)
    model = with_condition(conditional.model, conditional.model.classes_[1])
    imputer = LatentImputer(FrozenEstimator(model), n_draws=DRAWS, random_state=0)
    wanted = imputer.fit(x.reshape(1, 8, 8)).transform(x.reshape(1, 8, 8))
    np.testing.assert_array_equal(made[1], wanted.ravel())


def test_repair_of_nothing_answers_the_item_alone(plain):
    whole = np.full(4, 1e6)
    np.testing.assert_array_equal(plain.ask("repair", whole, "<f8"), whole)
    holed = np.array([np.nan, 1e6, 1e6, 1e6])
    assert plain.ask("repair", holed, "<f8")[4] > 0  # the noise of x given its code


def test_many_at_a_time_answer_as_alone(vae):
    codes = [np.full((1, 3), i / 9, np.float32) for i in range(16)]
    alone = [vae.ask("decode?n=1", z, "<f8") for z in codes]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda z: vae.ask("decode?n=1", z, "<f8"), codes))
    np.testing.assert_array_equal(together, alone)


# ---------------------------------------------------------------------- training


def test_a_run_that_trains_is_followed_until_it_has_a_model(tmp_path):
    facts = {"estimator": "vae", "params": {}, "data": {"name": "digits", "shape": [200, 8, 8]}}
    seen = []

    class Follow(TrainingLog):
        def on_epoch(self, trainer, record):
            super().on_epoch(trainer, record)
            if not seen:
                self.answers = Answers([tmp_path], lambda: Bundle.of([tmp_path]))
                self.client = client_of(self.answers)
            (run,) = self.client.get("/api/runs").json()
            seen.append((len(run["history"]), run["training"], run["epochs"]))

    follow = Follow(tmp_path, facts)
    model = VAE(n_components=2, **FAST).fit(DATA.X[:200], callbacks=[follow])
    assert seen == [(1, True, 3), (2, True, 3), (3, True, 3)]
    assert follow.client.get("/api/manifest").json()["model"]["n_components"] == 0
    asked = follow.client.post("/api/decode?n=1", content=bytes(8))
    assert "still being trained" in asked.json()["detail"]
    model_io.save(model, tmp_path)
    remove_training_log(tmp_path)
    assert follow.client.get("/api/manifest").json()["model"]["n_components"] == 2
    assert not follow.client.get("/api/runs").json()[0]["training"]


def test_a_history_that_diverged_is_json_all_the_same(vae, monkeypatch):
    record = {"history": [{"epoch": 1, "loss": float("nan")}], "name": "a"}
    monkeypatch.setattr("isthmus.studio.runs.run_record", lambda folder: record)
    strict = json.loads(vae.client.get("/api/runs").text, parse_constant=pytest.fail)
    assert strict[0]["history"] == [{"epoch": 1, "loss": None}]


# ------------------------------------------------------------------ what is wrong


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("items", np.array([0, 200], "<i4"), "there is no row 200: expected 0 to 199"),
        ("codes", np.array([-1], "<i4"), "there is no row -1"),
        ("items", b"", "got 0"),
        ("items", b"abc", "got 3"),
        ("encode?n=2", np.zeros(64), "expected 2 x 64 numbers of float64, 1,024 bytes, got 512"),
        ("encode?n=1", np.full(64, np.nan), "contains NaN"),
        ("encode?n=1", np.full(64, np.inf), "contains infinity"),
        ("encode", np.zeros(64), "n: Field required"),
        ("decode?n=0", b"", "n: Input should be greater"),
        ("decode?n=x", b"", "n: Input should be a valid integer"),
        ("decode?n=1", np.full(3, np.inf, "<f4"), "infinity"),
        ("decode?n=1", np.zeros(2, "<f4"), "expected 1 x 3 numbers of float32"),
        ("decode?n=99999999999999999999", b"", "expected"),
        ("decode?n=1&condition=1", np.zeros(3, "<f4"), "told no class"),
        ("repair", np.zeros(63), "expected 64 numbers"),
        ("repair", np.full(64, np.inf), "infinity"),
        ("neighbours?k=0", np.zeros(3, "<f4"), "k must be at least 1"),
        ("neighbours?k=2", np.full(3, np.nan, "<f4"), "NaN"),
        ("neighbours", np.zeros(3, "<f4"), "k: Field required"),
    ],
)
def test_a_bad_question_is_answered_in_one_line(vae, path, body, words):
    said = vae.detail(path, body if isinstance(body, bytes) else body.tobytes())
    assert words in said
    assert "\n" not in said


@pytest.mark.parametrize("k", [-1, 10])
def test_there_is_no_other_class(conditional, k):
    said = conditional.detail(f"decode?n=1&condition={k}", bytes(8))
    assert said == f"there is no class {k}: expected 0 to 9."


def test_too_much_is_refused_before_room_is_made(vae, monkeypatch):
    monkeypatch.setattr(server, "LARGEST", 1000)
    assert "at most 1,000 bytes" in vae.detail("items", bytes(2000))
    assert vae.client.post("/api/items", content=bytes(2000)).status_code == 413
    monkeypatch.setattr("isthmus.studio.answers.LARGEST", 1000)
    assert "ask for fewer at once" in vae.detail("items", bytes(4 * 20))
    assert "ask for fewer at once" in vae.detail("decode?n=4", bytes(4 * 4 * 3))


def test_who_goes_away_while_asking_is_let_go(vae):
    """A server that met an error here would print where it comes from."""
    headers = [(b"host", HOST.encode()), (b"x-isthmus-token", TOKEN.encode())]
    scope = {"type": "http", "method": "POST", "path": "/api/items", "headers": headers}
    pieces = [
        {"type": "http.request", "body": b"abc", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def ask():
        await vae.client.app(scope | {"query_string": b""}, receive, receive_none)

    async def receive():
        return pieces.pop(0)

    async def receive_none(message):
        return None

    asyncio.run(ask())
    assert not pieces


def test_without_data_the_model_answers_and_the_rows_do_not(vae):
    bundle = Bundle.of([vae.folder], missing="moved")
    client = client_of(Answers([vae.folder], lambda: bundle))
    assert client.get("/api/manifest").json()["missing"] == "moved"
    assert client.post("/api/decode?n=1", content=bytes(12)).status_code == 200
    for path, body in (("items", bytes(4)), ("codes", bytes(4)), ("neighbours?k=1", bytes(12))):
        answer = client.post(f"/api/{path}", content=body)
        assert answer.status_code == 422
        assert "without its data" in answer.json()["detail"]


def test_unknown_arrays_and_pages_are_not_found(vae):
    answer = vae.client.get("/api/arrays/nothing")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "the studio holds no array 'nothing'."
    for path in ("/docs", "/openapi.json", "/api/arrays/..%2Fcodes", "/app/../../x"):
        assert vae.client.get(path).status_code == 404


# ------------------------------------------------------------------------- guards


@pytest.mark.parametrize("token", ["", "wrong", "secret2", "é"])
def test_nothing_is_said_without_the_token(vae, token):
    client = client_of(vae.answers, token=token.encode())
    asked = [client.get(f"/api/{p}") for p in ("manifest", "runs", "arrays/codes")]
    asked += [client.post(f"/api/{p}?n=1&k=1", content=bytes(4)) for p in API]
    asked.append(client.get("/report", params={"token": token}))
    assert {answer.status_code for answer in asked} == {401}
    assert "token" in asked[0].json()["detail"]


def test_every_way_to_data_is_guarded(vae):
    ways = {r.path for r in server.make_app(vae.answers, TOKEN, HOSTS).routes if hasattr(r, "path")}
    known = {"/", "/report", *(f"/{name}" for name in server.FILES)}
    stranger = client_of(vae.answers, token="wrong")
    for path in ways - known:
        assert path.startswith("/api/")
        for method in ("GET", "POST"):
            assert stranger.request(method, path).status_code in (401, 405)


@pytest.mark.parametrize("host", ["evil.example:8631", "127.0.0.1", "127.0.0.1:9", "", "x"])
def test_another_hosts_name_is_refused(vae, host):
    answer = vae.client.get("/api/manifest", headers={"Host": host})
    assert answer.status_code == 400
    assert "use the address printed" in answer.json()["detail"]


def test_a_foreign_address_may_have_any_name(vae):
    client = client_of(vae.answers, hosts=None)
    assert client.get("/api/manifest", headers={"Host": "lab-7:80"}).status_code == 200
    assert vae.client.get("/api/manifest", headers={"Host": "LocalHost:8631"}).status_code == 200


def test_the_page_and_its_files_are_sent_with_a_policy(vae, monkeypatch):
    monkeypatch.setattr(server, "app_file", lambda name: name.encode())
    page = vae.client.get("/")
    assert 'src="app.js"' in page.text
    assert vae.bundle.manifest["title"] not in page.text  # no token was shown
    assert TOKEN not in page.text
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "script-src 'self' 'unsafe-eval';" in policy
    for name, kind in server.FILES.items():
        answer = vae.client.get(f"/{name}")
        assert (answer.content, answer.headers["content-type"]) == (name.encode(), kind)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_no_other_origin_is_let_in(vae):
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    for answer in (
        vae.client.options("/api/decode", headers=asked),
        vae.client.get("/api/manifest", headers=asked),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_report_is_sent_where_there_is_one(vae):
    assert vae.client.get("/report?token=secret").json()["detail"] == "this run has no report."
    (vae.folder / "report.html").write_text("<p>report</p>")
    answer = vae.client.get("/report?token=secret")
    assert answer.text == "<p>report</p>"
    assert "script-src" not in answer.headers["content-security-policy"]
