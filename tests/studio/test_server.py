"""Tests of the live server: responses match the estimator, and access is restricted."""

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
from isthmus.data.columns import Columns, Table
from isthmus.estimators import model_io
from isthmus.studio import server
from isthmus.studio.bundle import Bundle
from isthmus.studio.queries import DRAWS, ModelQueries
from isthmus.training.training_log import TrainingLog, remove_training_log

DATA = load("digits")
BYTES = Dataset("bytes", (DATA.X[:150] * 255).astype(np.uint8), DATA.y[:150])
FAST = {"hidden": (16,), "epochs": 3, "random_state": 0}
TOKEN, HOST = "secret", "127.0.0.1:8631"
HOSTS = frozenset({HOST, "localhost:8631"})
API = ("items", "codes", "encode", "decode", "neighbours", "impute")


def client_of(queries, token=TOKEN, hosts=HOSTS):
    app = server.make_app(queries, TOKEN, hosts)
    headers = {"X-Isthmus-Token": token}
    return TestClient(app, base_url=f"http://{HOST}", headers=headers)


class Studio:
    """A saved model and a client of its server."""

    def __init__(self, model, data, folder):
        self.folder, self.data = folder / type(model).__name__, data
        model_io.save(model.fit(data.X, data.y), self.folder, data.fingerprint)
        self.bundle = Bundle.load([self.folder], data)
        self.queries = ModelQueries([self.folder], lambda: self.bundle)
        self.model, self.client = self.bundle.estimator, client_of(self.queries)

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


def test_manifest_and_arrays_match_the_bundle(vae):
    manifest = vae.client.get("/api/manifest").json()
    assert manifest["model"] == vae.bundle.manifest["model"]
    assert "codes" in manifest["arrays"]
    for name, about in manifest["arrays"].items():
        content = vae.client.get(f"/api/arrays/{name}").content
        sent = np.frombuffer(content, np.dtype(about["dtype"]).newbyteorder("<"))
        np.testing.assert_array_equal(sent.reshape(about["shape"]), vae.bundle.arrays[name])


def test_items_are_in_the_units_of_the_data(vae, conditional):
    rows = np.array([5, 0, 149], np.int32)
    for studio, X in ((vae, DATA.X), (conditional, BYTES.X / 255.0)):
        found = studio.ask("items", rows, "<f8")
        np.testing.assert_array_equal(found, X[rows].astype(float).ravel())


def test_codes_match_the_posterior(vae, plain):
    rows = np.array([7, 3], np.int32)
    q = vae.model.posterior(vae.data.X[rows])
    mean, std = vae.ask("codes", rows, "<f4").reshape(2, 2, 3)
    np.testing.assert_allclose(mean, q.mean, rtol=1e-6)
    np.testing.assert_allclose(std, q.std, rtol=1e-6)
    assert not plain.ask("codes", rows, "<f4")[4:].any()  # no standard deviation


@pytest.mark.parametrize("n", [1, 64])
def test_encode_and_decode_match_the_estimator(vae, n):
    x = vae.data.X[:n].astype(np.float64)
    q = vae.model.posterior(x)
    mean, std = vae.ask(f"encode?n={n}", x, "<f4").reshape(2, n, 3)
    np.testing.assert_array_equal(mean, q.mean.astype(np.float32))
    np.testing.assert_array_equal(std, q.std.astype(np.float32))
    made = vae.ask(f"decode?n={n}", mean, "<f8").reshape(n, 8, 8)
    np.testing.assert_array_equal(made, vae.model.decode(mean.astype(np.float64)))


def test_condition_is_a_class_index(conditional):
    model, z = conditional.model, np.zeros((1, 2), np.float32)
    for k in (0, 7):
        label = model.classes_[k]
        made = conditional.ask(f"decode?n=1&condition={k}", z, "<f8")
        np.testing.assert_array_equal(made, model.decode(z.astype(float), condition=label).ravel())
    unknown = conditional.ask("decode?n=1", z, "<f8")
    np.testing.assert_array_equal(unknown, model.decode(z.astype(float)).ravel())
    x = conditional.ask("items", np.array([0], np.int32), "<f8")
    mean = conditional.ask("encode?n=1&condition=3", x, "<f4")[:2]
    expected = model.transform(x.reshape(1, 8, 8), condition=model.classes_[3])
    np.testing.assert_allclose(mean, expected.ravel(), rtol=1e-6)


def test_samples_of_tables_are_draws_within_their_range(tmp_path, vae):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    table = {"pet": ["cat", "dog"] * 40, "kg": rng.lognormal(1, 0.5, 80)}
    columns = Columns.learn(pandas.DataFrame(table))
    data = Dataset("pets", columns.to_numbers(pandas.DataFrame(table)), None, columns)
    model = VAE(n_components=2, **FAST).fit(Table(data.X, columns))
    model_io.save(model, tmp_path / "run", data.fingerprint)
    bundle = Bundle.load([tmp_path / "run"], data)
    queries = ModelQueries([tmp_path], lambda: bundle)
    z = np.zeros((200, 2), np.float32)
    mean, first, again, other = (queries.decode(z, seed=s) for s in (None, 3, 3, 4))
    assert np.ptp(mean[:, 1]) < 1e-6
    kg = data.X[:, 1]
    assert first[:, 1].std() > 0.2 * kg.std()
    assert first[:, 1].min() > kg.min()
    assert first[:, 1].max() < kg.max()
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    codes = z[:1, [0, 1, 1]].copy()  # pictures stay means
    made = vae.ask("decode?n=1&seed=3", codes, "<f8")
    np.testing.assert_array_equal(made, vae.ask("decode?n=1", codes, "<f8"))
    assert "seed" in vae.detail("decode?n=1&seed=-1", codes.tobytes())


def test_decoded_numbers_have_float64_precision(plain):
    z = np.ones((1, 2), np.float32)
    made = plain.ask("decode?n=1", z, "<f8")
    np.testing.assert_array_equal(made, plain.model.decode(z.astype(float)).ravel())
    assert not np.array_equal(made, made.astype(np.float32))


def test_neighbours_are_the_nearest_codes(vae):
    codes = vae.bundle.arrays["codes"]
    answer = vae.ask("neighbours?k=5", codes[17], "V1").tobytes()
    rows, returned = np.frombuffer(answer[:20], "<i4"), np.frombuffer(answer[20:], "<f4")
    distances = np.linalg.norm(codes - codes[17], axis=1)
    np.testing.assert_allclose(returned, np.sort(distances)[:5], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(distances[rows], returned, rtol=1e-5, atol=1e-6)
    assert rows[0] == 17
    assert len(vae.ask("neighbours?k=100000", codes[0], "<i4")) == 2 * len(codes)


def test_impute_matches_the_imputer_and_keeps_observed_values(vae):
    x = vae.data.X[0].astype(np.float64)
    with_gaps = np.where(np.arange(8)[:, None] < 4, np.nan, x)
    full, std = vae.ask("impute", with_gaps, "<f8").reshape(2, 8, 8)
    np.testing.assert_array_equal(full[4:], x[4:])
    assert not std[4:].any()
    imputer = LatentImputer(FrozenEstimator(vae.model), n_draws=DRAWS, random_state=0)
    expected = imputer.fit(with_gaps[None]).impute(with_gaps[None])
    np.testing.assert_array_equal(full, expected.values[0])
    np.testing.assert_array_equal(std, expected.std[0])


def test_impute_uses_the_condition(conditional):
    x = np.full(64, np.nan)  # only the class is known
    made = [conditional.ask(f"impute?condition={k}", x, "<f8")[:64] for k in (0, 1)]
    assert not np.array_equal(*made)
    model = with_condition(conditional.model, conditional.model.classes_[1])
    imputer = LatentImputer(FrozenEstimator(model), n_draws=DRAWS, random_state=0)
    expected = imputer.fit(x.reshape(1, 8, 8)).transform(x.reshape(1, 8, 8))
    np.testing.assert_array_equal(made[1], expected.ravel())


def test_impute_of_a_complete_item_returns_it_without_std(plain):
    complete = np.full(4, 1e6)
    np.testing.assert_array_equal(plain.ask("impute", complete, "<f8"), complete)
    with_gaps = np.array([np.nan, 1e6, 1e6, 1e6])
    assert plain.ask("impute", with_gaps, "<f8")[4] > 0  # noise of p(x|z)


def test_concurrent_requests_match_sequential_ones(vae, serve_live):
    codes = [np.full((1, 3), i / 9, np.float32) for i in range(16)]
    sequential = [vae.ask("decode?n=1", z, "<f8") for z in codes]
    live = serve_live(vae.queries)

    def decode(z):
        length = ("Content-Length: 12", "Connection: close")
        answer, _ = live.ask(live.request("/api/decode?n=1", *length, method="POST") + z.tobytes())
        return np.frombuffer(answer.partition(b"\r\n\r\n")[2], "<f8")

    with ThreadPoolExecutor(8) as pool:
        np.testing.assert_array_equal(list(pool.map(decode, codes)), sequential)


def test_run_in_training_is_followed_until_it_has_a_model(tmp_path):
    facts = {"estimator": "vae", "params": {}, "data": {"name": "digits", "shape": [200, 8, 8]}}
    seen = []

    class Follow(TrainingLog):
        def on_epoch(self, trainer, record):
            super().on_epoch(trainer, record)
            if not seen:
                self.queries = ModelQueries([tmp_path], lambda: Bundle.load([tmp_path]))
                self.client = client_of(self.queries)
            (run,) = self.client.get("/api/runs").json()
            seen.append((len(run["history"]), run["training"], run["epochs"]))

    follow = Follow(tmp_path, facts)
    model = VAE(n_components=2, **FAST).fit(DATA.X[:200], callbacks=[follow])
    assert seen == [(1, True, 3), (2, True, 3), (3, True, 3)]
    assert follow.client.get("/api/manifest").json()["model"]["n_components"] == 0
    response = follow.client.post("/api/decode?n=1", content=bytes(8))
    assert "still training" in response.json()["detail"]
    model_io.save(model, tmp_path)
    remove_training_log(tmp_path)
    assert follow.client.get("/api/manifest").json()["model"]["n_components"] == 2
    assert not follow.client.get("/api/runs").json()[0]["training"]


def test_damaged_log_is_an_error_of_one_line(tmp_path):
    facts = {"estimator": "vae", "params": {}, "data": {"name": "digits", "shape": [9, 8, 8]}}
    VAE(n_components=2, **FAST).fit(DATA.X[:200], callbacks=[TrainingLog(tmp_path, facts)])
    client = client_of(ModelQueries([tmp_path], lambda: Bundle.load([tmp_path])))
    path = tmp_path / "training.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"epoch": 2', b'"epoch": 3'))
    response = client.get("/api/runs")
    assert response.status_code == 422
    assert "line 3 does not match its checksum" in response.json()["detail"]


def test_diverged_history_is_valid_json(vae, monkeypatch):
    record = {"history": [{"epoch": 1, "loss": float("nan")}], "name": "a"}
    monkeypatch.setattr("isthmus.studio.runs.run_record", lambda folder: record)
    strict = json.loads(vae.client.get("/api/runs").text, parse_constant=pytest.fail)
    assert strict[0]["history"] == [{"epoch": 1, "loss": None}]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("items", np.array([0, 200], "<i4"), "row 200 does not exist; expected 0 to 199"),
        ("codes", np.array([-1], "<i4"), "row -1 does not exist"),
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
        ("decode?n=65537", bytes(4 * 3 * 65537), "less than or equal to 65536"),
        ("encode?n=99999999999999999999", b"", "less than or equal to 65536"),
        ("decode?n=1&condition=1", np.zeros(3, "<f4"), "not conditional on classes"),
        ("impute", np.zeros(63), "expected 64 numbers"),
        ("impute", np.full(64, np.inf), "infinity"),
        ("neighbours?k=0", np.zeros(3, "<f4"), "k must be at least 1"),
        ("neighbours?k=2", np.full(3, np.nan, "<f4"), "NaN"),
        ("neighbours", np.zeros(3, "<f4"), "k: Field required"),
    ],
)
def test_invalid_request_gets_a_message_of_one_line(vae, path, body, words):
    message = vae.detail(path, body if isinstance(body, bytes) else body.tobytes())
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("k", [-1, 10])
def test_unknown_class_is_rejected(conditional, k):
    message = conditional.detail(f"decode?n=1&condition={k}", bytes(8))
    assert message == f"condition must be from 0 to 9, got {k}."


def test_large_requests_and_responses_are_rejected_before_allocation(vae, monkeypatch):
    monkeypatch.setattr(server, "MAX_REQUEST", 1000)
    assert "at most 1,000 bytes" in vae.detail("items", bytes(2000))
    assert vae.client.post("/api/items", content=bytes(2000)).status_code == 413
    monkeypatch.setattr("isthmus.studio.queries.MAX_RESPONSE", 1000)
    assert "request fewer rows at once" in vae.detail("items", bytes(4 * 20))
    assert "request fewer rows at once" in vae.detail("decode?n=4", bytes(4 * 4 * 3))


def test_client_disconnect_is_handled(vae):
    """An unhandled error would print a traceback on the server."""
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


def test_server_without_data_decodes_but_has_no_rows(vae):
    bundle = Bundle.load([vae.folder], no_data_reason="moved")
    client = client_of(ModelQueries([vae.folder], lambda: bundle))
    assert client.get("/api/manifest").json()["no_data_reason"] == "moved"
    assert client.post("/api/decode?n=1", content=bytes(12)).status_code == 200
    for path, body in (("items", bytes(4)), ("codes", bytes(4)), ("neighbours?k=1", bytes(12))):
        answer = client.post(f"/api/{path}", content=body)
        assert answer.status_code == 422
        assert "no data for this run" in answer.json()["detail"]


def test_unknown_arrays_and_pages_are_not_found(vae):
    answer = vae.client.get("/api/arrays/nothing")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "unknown array 'nothing'."
    for path in ("/docs", "/openapi.json", "/api/arrays/..%2Fcodes", "/app/../../x"):
        assert vae.client.get(path).status_code == 404


@pytest.mark.parametrize("token", ["", "wrong", "secret2", "é"])
def test_requests_without_valid_token_are_rejected(vae, token):
    client = client_of(vae.queries, token=token.encode())
    asked = [client.get(f"/api/{p}") for p in ("manifest", "runs", "arrays/codes")]
    asked += [client.post(f"/api/{p}?n=1&k=1", content=bytes(4)) for p in API]
    asked.append(client.get("/report", params={"token": token}))
    assert {answer.status_code for answer in asked} == {401}
    assert "token" in asked[0].json()["detail"]


def test_every_route_with_data_requires_the_token(vae):
    paths = {
        r.path for r in server.make_app(vae.queries, TOKEN, HOSTS).routes if hasattr(r, "path")
    }
    public = {"/", "/report", *(f"/{name}" for name in server.FILES)}
    stranger = client_of(vae.queries, token="wrong")
    for path in paths - public:
        assert path.startswith("/api/")
        for method in ("GET", "POST"):
            assert stranger.request(method, path).status_code in (401, 405)


@pytest.mark.parametrize("host", ["evil.example:8631", "127.0.0.1", "127.0.0.1:9", "", "x"])
def test_foreign_host_header_is_rejected(vae, host):
    answer = vae.client.get("/api/manifest", headers={"Host": host})
    assert answer.status_code == 400
    assert "unknown host name" in answer.json()["detail"]


def test_any_host_header_is_accepted_without_a_list(vae):
    client = client_of(vae.queries, hosts=None)
    assert client.get("/api/manifest", headers={"Host": "lab-7:80"}).status_code == 200
    assert vae.client.get("/api/manifest", headers={"Host": "LocalHost:8631"}).status_code == 200


def test_app_files_are_sent_with_security_headers(vae, monkeypatch):
    monkeypatch.setattr(server, "app_file", lambda name: name.encode())
    page = vae.client.get("/")
    assert 'src="app.js"' in page.text
    assert vae.bundle.manifest["title"] not in page.text  # requested without token
    assert TOKEN not in page.text
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "script-src 'self' 'unsafe-eval';" in policy
    for name, kind in server.FILES.items():
        answer = vae.client.get(f"/{name}")
        assert (answer.content, answer.headers["content-type"]) == (name.encode(), kind)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_cross_origin_requests_are_not_allowed(vae):
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    for answer in (
        vae.client.options("/api/decode", headers=asked),
        vae.client.get("/api/manifest", headers=asked),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_report_outside_the_run_is_not_sent(vae, tmp_path):
    (tmp_path / "private").write_text("private")
    (vae.folder / "report.html").symlink_to(tmp_path / "private")
    answer = vae.client.get("/report?token=secret")
    (vae.folder / "report.html").unlink()
    assert (answer.status_code, answer.json()["detail"]) == (404, "this run has no report.")


def test_errors_name_no_folder(vae, monkeypatch):
    """Messages for this machine's user name files; those for clients name no folder."""

    def fail(folder):
        raise FileNotFoundError(2, "No such file or directory", str(vae.folder / "config.json"))

    monkeypatch.setattr("isthmus.studio.runs.run_record", fail)
    answer = vae.client.get("/api/runs")
    assert answer.json()["detail"] == "config.json: No such file or directory"
    assert str(vae.folder.parent) not in answer.text
    strangers = client_of(vae.queries, token="wrong")
    for path in ("/", "/api/runs", "/x", "/report", "/app.js/x", f"/{vae.folder}", "/%2e%2e/x"):
        assert str(vae.folder.parent) not in strangers.get(path).text


def test_report_is_sent_if_it_exists(vae):
    assert vae.client.get("/report?token=secret").json()["detail"] == "this run has no report."
    (vae.folder / "report.html").write_text("<p>report</p>")
    answer = vae.client.get("/report?token=secret")
    assert answer.text == "<p>report</p>"
    assert "script-src" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize("value", [1e20, -1e14, 1e38, 1e300, np.inf])
def test_extreme_values_beside_a_gap_are_refused_or_give_finite_numbers(plain, value):
    item, code = np.array([np.nan, value, 1e6, 1e6]), np.full(2, value, "f4")
    for path, content in {
        "impute": item,
        "encode?n=1": np.nan_to_num(item, nan=1e6),
        "decode?n=1": code,
        "neighbours?k=2": code,
    }.items():
        answer = plain.client.post(f"/api/{path}", content=content.tobytes())
        assert answer.status_code in (200, 422), path
        if answer.status_code == 422:
            assert "\n" not in answer.json()["detail"]
        elif path != "neighbours?k=2":
            assert np.isfinite(
                np.frombuffer(answer.content, "<f8" if path != "encode?n=1" else "<f4")
            ).all()
