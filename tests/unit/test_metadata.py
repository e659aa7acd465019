"""What travels in a .tflite: metadata, labels, files appended to it. Imported files are hostile."""

import contextlib
import io
import struct
import zipfile
import zlib

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from flatbuffers_builder import FlatbufferBuilder, small_net
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core import metadata_file, metadata_schema
from edgekit.core.description import InputDescription
from edgekit.core.edit import to_bytes, to_objects
from edgekit.core.errors import EdgekitError, GuardError
from edgekit.core.graph import read_graph
from edgekit.core.metadata import (
    attach,
    describe,
    embed,
    metadata_of,
    read_description,
    split_appended,
    with_metadata,
)
from edgekit.core.metadata_schema import decode, encode
from edgekit.core.model import Model, Provenance

NET = small_net()
LABELS = tuple(f"class {letter}" for letter in "abcdefghij")
IMAGE = InputDescription(kind="image", layout="nhwc", color="rgb", mean=(0.485, 0.456, 0.406),
                         std=(0.229, 0.224, 0.225))
FILES = {"vocab.txt": b"a\nb\n", "labels.txt": "".join(f"{x}\n" for x in LABELS).encode()}


def make_model(data=NET, **more):
    return Model(data, "net", Provenance("keras", "net.keras"), **more)


def tree_of(data):
    flatbuffer, _ = split_appended(data)
    return decode(metadata_of(read_graph(flatbuffer)))


def reimport(data):
    flatbuffer, files = split_appended(data)
    labels, descriptions = read_description(flatbuffer, files)
    return make_model(flatbuffer, labels=labels, descriptions=descriptions, files=files)


def run(data, seed=0):
    interpreter = Interpreter(model_content=bytes(data))
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        values = np.random.default_rng(seed).random(detail["shape"]).astype(detail["dtype"])
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def assert_same_outputs(one, other):
    for a, b in zip(run(one), run(other), strict=True):
        np.testing.assert_array_equal(a, b)


def zip_of(entries, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=method)
    return out.getvalue()


# --- files appended to the .tflite -------------------------------------------------------------


def test_without_appended_files_the_data_comes_back_itself():
    data, files = split_appended(NET)
    assert data is NET
    assert files == {}
    assert attach(NET, {}) is NET


@given(st.dictionaries(st.text("abc._-é ", min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")), st.binary(max_size=50), max_size=5))
def test_split_is_the_inverse_of_attach(files):
    data, back = split_appended(attach(NET, files))
    assert bytes(data) == NET
    assert back == files


def test_attached_files_are_what_readers_expect():
    data = attach(NET, FILES)
    assert data == attach(NET, dict(reversed(FILES.items())))  # the order given does not matter
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == sorted(FILES)
        assert archive.testzip() is None
        for entry in archive.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED  # MediaPipe refuses anything else
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
    offset = struct.unpack("<I", data[-6:-2])[0]  # of the central directory
    assert data[offset : offset + 4] == b"PK\1\2"  # counted from the start of the whole file
    assert data[len(NET) : len(NET) + 4] == b"PK\3\4"


def test_a_model_with_appended_files_runs():
    assert_same_outputs(NET, attach(NET, FILES))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_offsets_that_count_from_the_archive_are_read_too(method):
    data, files = split_appended(NET + zip_of(FILES.items(), method))
    assert bytes(data) == NET
    assert files == FILES


def test_an_empty_archive_is_cut_off():
    data, files = split_appended(NET + zip_of([]))
    assert bytes(data) == NET
    assert files == {}


def test_folders_in_the_archive_are_passed_over():
    _, files = split_appended(NET + zip_of([("a/", b""), ("a/b.txt", b"x")]))
    assert files == {"a/b.txt": b"x"}


@pytest.mark.parametrize("name", [
    "../evil", "/etc/passwd", "a/../../b", "a\\b", "C:evil", "a//b", "./a", "a\nb", "x" * 300,
])  # fmt: skip
def test_names_that_lead_out_of_a_folder_are_refused(name):
    with pytest.raises(EdgekitError, match="unsafe name"):
        split_appended(NET + zip_of([(name, b"x")]))
    with pytest.raises(EdgekitError, match="unsafe name"):
        attach(NET, {name: b"x"})


def test_a_name_with_a_zero_byte_is_refused():
    archive = zip_of([("a_b", b"x")]).replace(b"a_b", b"a\0b")
    with pytest.raises(EdgekitError, match="unsafe name"):
        split_appended(NET + archive)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused():
    with pytest.raises(EdgekitError, match="in it twice"):
        split_appended(NET + zip_of([("a", b"x"), ("a", b"y")]))


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(monkeypatch):
    bomb = zip_of([("zeros", bytes(2_000_000))], zipfile.ZIP_DEFLATED)
    assert len(bomb) < 3_000
    monkeypatch.setattr(metadata_file, "MAX_APPENDED_BYTES", 1_000_000)
    with pytest.raises(EdgekitError, match="2000000 bytes are appended"):
        split_appended(NET + bomb)


def test_an_archive_that_lies_about_its_size_is_refused():
    bomb = bytearray(zip_of([("zeros", bytes(2_000_000))], zipfile.ZIP_DEFLATED))
    for at in (22, bomb.rindex(b"PK\1\2") + 24):  # uncompressed size, local and central
        bomb[at : at + 4] = struct.pack("<I", 10)
    with pytest.raises(EdgekitError, match="damaged"):
        split_appended(NET + bytes(bomb))


def test_too_many_files_are_refused(monkeypatch):
    monkeypatch.setattr(metadata_file, "MAX_APPENDED_FILES", 3)
    with pytest.raises(EdgekitError, match="4 files"):
        split_appended(attach(NET, {str(n): b"" for n in range(4)}))


def test_encrypted_and_exotic_archives_are_refused():
    archive = bytearray(zip_of([("a", b"secret")]))
    for at in (6, archive.rindex(b"PK\1\2") + 8):
        archive[at] |= 1
    with pytest.raises(EdgekitError, match="damaged"):
        split_appended(NET + bytes(archive))
    with pytest.raises(EdgekitError, match="unusual method"):
        split_appended(NET + zip_of([("a", b"x" * 99)], zipfile.ZIP_BZIP2))


def test_an_archive_with_changed_contents_is_refused():
    data = attach(NET, FILES).replace(b"class a", b"class A")
    with pytest.raises(EdgekitError, match="CRC"):
        split_appended(data)


def test_a_mark_inside_the_weights_is_not_an_archive():
    file = FlatbufferBuilder()
    x = file.input("x", (1, 64))
    y = file.tensor("y", (1, 64))
    marks = np.frombuffer(b"PK\5\6" * 64, np.float32)
    file.operator("ADD", [x, file.constant("c", marks[None])], [y], "AddOptions")
    file.output(y)
    data = file.build()
    assert split_appended(data) == (data, {})


def test_an_archive_that_is_a_constant_stays_one():
    """A .zip that a model carries as data, last in the file: the runtime reads it."""
    net = FlatbufferBuilder()
    x = net.input("x", (1, 4))
    inner = zip_of([("a", b"x")])
    inner += bytes(-len(inner) % 4)
    y = net.constant("archive", np.frombuffer(inner, np.uint8))
    net.output(x, y)
    objects = to_objects(net.build())
    archive = zip_of([("a", b"x")])
    buffer = next(b for b in objects.buffers if b.data is not None)
    buffer.data, buffer.offset, buffer.size = None, 2, 2
    data = bytearray(flatbuffer_utils.convert_object_to_bytearray(objects))
    model = schema.Model.GetRootAs(data, 0)
    packed = next(model.Buffers(i) for i in range(model.BuffersLength())
                  if model.Buffers(i).Offset())
    flatbuffer_utils.update_packed_buffer(packed, len(data), len(archive))
    data = bytes(data) + archive
    assert split_appended(data) == (data, {})


def test_an_archive_that_overlaps_the_model_is_refused():
    archive = bytearray(zip_of([("a", b"x")]))
    # The directory says that it begins 5000 bytes later than it can: the start moves forward.
    at = archive.rindex(b"PK\5\6") + 16
    archive[at : at + 4] = struct.pack("<I", struct.unpack_from("<I", archive, at)[0] + 5000)
    with pytest.raises(EdgekitError):
        split_appended(NET + bytes(archive))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_damage_is_worse_than_an_error_message(data):
    whole = bytearray(embed(make_model(labels=LABELS, descriptions={"image": IMAGE},
                                       files={"vocab.txt": b"a\nb"})))
    start = 0 if data.draw(st.booleans()) else len(whole) - 400
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(start, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    whole = whole[: len(whole) - data.draw(st.sampled_from([0, 0, 1, 30, 200]))]
    with contextlib.suppress(EdgekitError):
        reimport(bytes(whole))


# --- the metadata flatbuffer -------------------------------------------------------------------


def _values(field):
    scalar = {
        "byte": st.integers(1, 127), "int": st.integers(-(2**31), -1), "float": st.floats(
            width=32, min_value=1, allow_infinity=False),
        "uint": st.integers(1, 2**32 - 1), "string": st.text(max_size=5),
    }  # fmt: skip
    if field.kind == "ubyte":
        return st.binary(max_size=20)
    one = scalar[field.kind] if field.kind in scalar else st.deferred(lambda: _trees(field.kind))
    return st.lists(one, max_size=3) if field.vector else one


def _trees(table):
    plain, unions = {}, []
    for field in metadata_schema._fields(table):
        if field.kind in metadata_schema._UNIONS:
            unions.append(field)
        elif not field.kind.startswith("type of "):
            plain[field.name] = _values(field)
    made = st.fixed_dictionaries({}, optional=plain)
    for field in unions:
        member = st.sampled_from(metadata_schema._UNIONS[field.kind]).flatmap(
            lambda name, field=field: _trees(name).map(
                lambda tree: {f"{field.name}_type": name, field.name: tree}))
        made = st.builds(lambda a, b: a | b, made, st.just({}) | member)
    return made


@given(_trees("ModelMetadata"))
@settings(max_examples=100, deadline=None)
def test_a_tree_comes_back_as_it_went(tree):
    data = encode(tree)
    assert data[4:8] == b"M001"
    assert decode(data) == tree
    assert encode(decode(data)) == data


def test_the_slots_are_those_of_the_schema():
    """Read with nothing but the flatbuffers library, by slot numbers from metadata_schema.fbs."""
    data = encode({"name": "net", "min_parser_version": "1.3.0", "subgraph_metadata": [
        {"input_tensor_metadata": [{"content": {
            "content_properties_type": "AudioProperties",
            "content_properties": {"sample_rate": 16000}}}]}]})
    flags = flatbuffers.number_types
    root = flatbuffers.table.Table(data, struct.unpack("<I", data[:4])[0])

    def at(table, slot):
        return table.Offset(4 + 2 * slot)

    def first(table, slot):
        return flatbuffers.table.Table(data, table.Indirect(table.Vector(at(table, slot))))

    assert root.String(root.Pos + at(root, 0)) == b"net"
    assert root.String(root.Pos + at(root, 7)) == b"1.3.0"
    tensor = first(first(root, 3), 2)
    content = flatbuffers.table.Table(data, tensor.Indirect(tensor.Pos + at(tensor, 3)))
    assert content.Get(flags.Uint8Flags, content.Pos + at(content, 0)) == 4  # AudioProperties
    audio = flatbuffers.table.Table(data, content.Indirect(content.Pos + at(content, 1)))
    assert audio.Get(flags.Uint32Flags, audio.Pos + at(audio, 0)) == 16000


def test_custom_metadata_is_aligned():
    tree = {"subgraph_metadata": [{"custom_metadata": [{"name": "x", "data": b"0123456789"}]}]}
    assert encode(tree).index(b"0123456789") % 16 == 0


def test_a_key_that_the_schema_lacks_is_a_bug_here():
    with pytest.raises(ValueError, match="ModelMetadata has no field"):
        encode({"nmae": "net"})


def test_foreign_bytes_in_a_text_come_back():
    data = encode({"name": "caf\xe9"}).replace("é".encode(), b"\xff\xfe")
    assert encode(decode(data)) == data


def test_other_identifiers_are_refused():
    with pytest.raises(EdgekitError, match="unknown kind b'M002'"):
        decode(encode({"name": "net"}).replace(b"M001", b"M002"))


def test_a_file_that_unfolds_without_end_is_refused():
    """10,000 subgraphs of 10,000 tensors, all of them one and the same: 80 kB."""
    builder = flatbuffers.Builder(0)

    def vector_of(offset):
        builder.StartVector(4, 10_000, 4)
        for _ in range(10_000):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()

    def table(slots, slot, offset):
        builder.StartObject(slots)
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
        return builder.EndObject()

    tensor = table(7, 0, builder.CreateString("x"))
    subgraph = table(10, 2, vector_of(tensor))
    builder.Finish(table(8, 3, vector_of(subgraph)), b"M001")
    with pytest.raises(EdgekitError, match="unfolds"):
        decode(bytes(builder.Output()))


# --- metadata in the model ---------------------------------------------------------------------


def test_metadata_goes_in_and_comes_out_again():
    data = with_metadata(NET, b"first")
    assert metadata_of(read_graph(data)) == b"first"
    data = with_metadata(data, b"second")
    assert metadata_of(read_graph(data)) == b"second"
    assert b"first" not in data
    assert with_metadata(data, None) == with_metadata(NET, None)
    assert metadata_of(read_graph(with_metadata(data, None))) is None


def test_other_metadata_and_the_outputs_stay():
    file = FlatbufferBuilder()
    x = file.input("x", (1, 4))
    y = file.tensor("y", (1, 4))
    file.operator("ADD", [x, file.constant("c", np.ones((1, 4), np.float32))], [y], "AddOptions")
    file.output(y)
    file.metadata("min_runtime_version", b"1.5.0\0\0\0")
    file.metadata("TFLITE_METADATA", b"old")
    file.metadata("OfflineMemoryAllocation", struct.pack("<4i", 1, 0, 1, 0))
    data = file.build()
    changed = with_metadata(data, b"new")
    graph = read_graph(changed)
    assert sorted(graph.metadata_names) == [
        "OfflineMemoryAllocation", "TFLITE_METADATA", "min_runtime_version"]
    assert b"1.5.0" in changed
    assert metadata_of(graph) == b"new"
    assert_same_outputs(data, changed)


def test_constants_are_aligned_as_the_schema_says():
    """``Buffer.data`` has force_align: 16, which the generated Python code does not do."""
    graph = read_graph(with_metadata(NET, b"x"))
    assert {start % 16 for start, size in graph.buffer_spans if size} == {0}
    assert metadata_file.is_packed(graph)
    assert_same_outputs(NET, with_metadata(NET, b"x"))


def outside(data):
    """The same model with its constants behind the flatbuffer (``Buffer.offset``)."""
    objects = to_objects(data)
    blobs = {}
    for index, buffer in enumerate(objects.buffers):
        if buffer.data is not None:
            blobs[index] = bytes(buffer.data)
            buffer.data, buffer.offset, buffer.size = None, 2, 2
    whole = bytearray(flatbuffer_utils.convert_object_to_bytearray(objects))
    for index, blob in blobs.items():
        whole += bytes(-len(whole) % 16)
        packed = schema.Model.GetRootAs(whole, 0).Buffers(index)
        flatbuffer_utils.update_packed_buffer(packed, len(whole), len(blob))
        whole += blob
    return bytes(whole)


def test_constants_behind_the_flatbuffer_come_into_it():
    data = outside(NET)
    assert not metadata_file.is_packed(read_graph(data))
    assert_same_outputs(NET, data)
    changed = with_metadata(attach(data, FILES)[: len(data)], b"x")
    assert metadata_file.is_packed(read_graph(changed))
    assert_same_outputs(NET, changed)
    assert bytes(split_appended(attach(data, FILES))[0]) == data


def test_a_rewrite_that_changes_the_model_is_noticed(monkeypatch):
    other = small_net(seed=1)
    monkeypatch.setattr(metadata_file, "to_bytes", lambda _objects: other)
    with pytest.raises(GuardError, match="changed the model"):
        with_metadata(NET, b"x")


def test_metadata_that_names_no_buffer_is_refused():
    objects = to_objects(with_metadata(NET, b"x"))
    objects.metadata[0].buffer = 4000
    with pytest.raises(EdgekitError, match="buffer that does not exist"):
        metadata_of(read_graph(to_bytes(objects)))


# --- what it says ------------------------------------------------------------------------------


def test_a_model_with_nothing_to_say_is_itself():
    model = make_model(descriptions={"image": InputDescription()})
    assert embed(model) is NET
    assert read_description(NET, {}) == ((), {})


def test_labels_and_preprocessing_travel():
    model = make_model(labels=LABELS, descriptions={"image": IMAGE})
    data = embed(model)
    assert data == embed(model)
    assert_same_outputs(NET, data)
    back = reimport(data)
    assert back.labels == LABELS
    assert back.descriptions == {"image": IMAGE}
    assert embed(back) == data


def test_the_specification_normalizes_pixels_up_to_255():
    tree = tree_of(embed(make_model(descriptions={"image": IMAGE})))
    entry = tree["subgraph_metadata"][0]["input_tensor_metadata"][0]
    options = entry["process_units"][0]["options"]
    assert options["mean"] == pytest.approx([123.675, 116.28, 103.53])
    assert options["std"] == pytest.approx([58.395, 57.12, 57.375])
    pixel = 200.0
    ours = (pixel / 255 - IMAGE.mean[1]) / IMAGE.std[1]
    assert (pixel - options["mean"][1]) / options["std"][1] == pytest.approx(ours)


def test_what_readers_demand_is_there():
    tree = tree_of(embed(make_model(labels=LABELS, descriptions={"image": IMAGE})))
    assert tree["name"] == "net"
    assert tree["min_parser_version"] == "1.0.0"
    [subgraph] = tree["subgraph_metadata"]
    [image], [scores] = subgraph["input_tensor_metadata"], subgraph["output_tensor_metadata"]
    assert image["name"] == "image"
    assert image["content"] == {"content_properties_type": "ImageProperties",
                                "content_properties": {"color_space": 1}}
    assert image["dimension_names"] == ["batch", "height", "width", "channels"]
    assert scores["associated_files"][0]["name"] == "labels.txt"
    assert scores["associated_files"][0]["type"] == 2  # TENSOR_AXIS_LABELS


@pytest.mark.parametrize("given", [
    InputDescription(kind="image", color="grayscale", mean=(0.5,), std=(0.5,)),
    InputDescription(kind="image", color="rgb", layout="nchw"),
    InputDescription(kind="image", mean=(0.0, 0.0, 0.0), std=(1 / 255,) * 3),
    InputDescription(kind="audio", sample_rate=16000),
    InputDescription(kind="tensor", mean=(1.5, 2.0), std=(3.0, 0.25)),
])  # fmt: skip
def test_descriptions_come_back(given):
    back = reimport(embed(make_model(descriptions={"image": given}))).descriptions["image"]
    for name in InputDescription.model_fields:
        wanted = getattr(given, name)
        if isinstance(wanted, tuple):
            wanted = pytest.approx(wanted, rel=1e-6)
        assert getattr(back, name) == wanted, name


def test_bgr_is_never_called_rgb():
    """The schema has no word for it, and readers refuse an unknown colour space."""
    tree = tree_of(embed(make_model(descriptions={
        "image": InputDescription(kind="image", color="bgr")})))
    entry = tree["subgraph_metadata"][0]["input_tensor_metadata"][0]
    assert entry["content"]["content_properties"].get("color_space", 0) == 0
    assert "blue" in entry["description"]


def test_audio_needs_a_younger_reader_and_has_channels():
    given = InputDescription(kind="audio", sample_rate=16000, layout="nhwc")
    tree = tree_of(embed(make_model(descriptions={"image": given})))
    assert tree["min_parser_version"] == "1.3.0"
    content = tree["subgraph_metadata"][0]["input_tensor_metadata"][0]["content"]
    assert content["content_properties"] == {"sample_rate": 16000, "channels": 3}


@pytest.mark.parametrize(("mean", "std", "message"), [
    ((0.1, 0.2), (1.0, 1.0, 1.0), "2 means and 3 deviations"),
    ((0.1,), (0.0,), "cannot be normalized"),
    ((float("inf"),), (1.0,), "cannot be normalized"),
    ((1e38,), (1.0,), "cannot be normalized"),
])  # fmt: skip
def test_numbers_that_metadata_cannot_hold(mean, std, message):
    given = InputDescription.model_construct(kind="image", layout=None, color=None, mean=mean,
                                             std=std, sample_rate=None)
    with pytest.raises(EdgekitError, match=message):
        embed(make_model(descriptions={"image": given}))


def test_one_mean_for_three_deviations_is_spread():
    given = InputDescription(kind="image", mean=(0.5,), std=(0.1, 0.2, 0.3))
    back = reimport(embed(make_model(descriptions={"image": given}))).descriptions["image"]
    assert back.mean == (0.5, 0.5, 0.5)


def test_a_label_with_a_line_break_is_refused():
    with pytest.raises(EdgekitError, match="line break"):
        embed(make_model(labels=("a", "b\nc")))


@pytest.mark.parametrize(("text", "labels"), [
    (b"a\nb\n", ("a", "b")), (b"a\r\nb", ("a", "b")), (b"a\n\nc\n", ("a", "", "c")),
    (b"\xef\xbb\xbf\xc3\xa9\n", ("é",)), (b"", ()),
])  # fmt: skip
def test_label_files_as_people_write_them(text, labels):
    data, files = describe(make_model(labels=LABELS))
    files["labels.txt"] = text
    assert read_description(with_metadata(NET, data), files)[0] == labels


def test_labels_that_are_not_text_are_refused():
    data, files = describe(make_model(labels=LABELS))
    files["labels.txt"] = b"\xff\xfe\x00"
    with pytest.raises(EdgekitError, match="not UTF-8"):
        read_description(with_metadata(NET, data), files)


def test_labels_of_a_detector_are_of_values():
    """90 classes, and no output with 90 elements: some output holds class numbers."""
    labels = tuple(map(str, range(90)))
    data = embed(make_model(labels=labels))
    assert tree_of(data)["associated_files"][0]["type"] == 3  # TENSOR_VALUE_LABELS
    assert reimport(data).labels == labels


# --- metadata that an imported file brings along -----------------------------------------------


def imported(**changes):
    """A file by somebody else: author, score calibration, labels in two languages."""
    tree = {
        "name": "theirs", "author": "somebody", "license": "MIT",
        "subgraph_metadata": [{
            "input_tensor_metadata": [{"name": "picture", "stats": {"max": [1.0]}}],
            "output_tensor_metadata": [{"name": "probability", "associated_files": [
                {"name": "labels_de.txt", "type": 2, "locale": "de"},
                {"name": "names.txt", "type": 2},
                {"name": "calibration.txt", "type": 4},
            ]}],
        }],
        "min_parser_version": "1.0.0", **changes,
    }  # fmt: skip
    files = {"labels_de.txt": b"eins\nzwei\n", "names.txt": b"one\ntwo\n",
             "calibration.txt": b"1,2,3\n", "README": b"hello"}
    return attach(with_metadata(NET, encode(tree)), files)


def test_imported_metadata_is_kept_byte_for_byte():
    data = imported()
    model = reimport(data)
    assert model.labels == ("one", "two")  # before those of a locale
    assert embed(model) == data


def test_an_emptied_model_keeps_what_its_file_says():
    flatbuffer, files = split_appended(imported())
    assert embed(make_model(flatbuffer, files=files)) == imported()


def test_new_labels_replace_the_old_ones_and_nothing_else():
    flatbuffer, files = split_appended(imported())
    data = embed(make_model(flatbuffer, files=files, labels=LABELS))
    _, kept = split_appended(data)
    assert kept.keys() == {"labels.txt", "calibration.txt", "README"}
    tree = tree_of(data)
    assert (tree["author"], tree["license"], tree["name"]) == ("somebody", "MIT", "theirs")
    [subgraph] = tree["subgraph_metadata"]
    assert [entry["type"] for entry in
            subgraph["output_tensor_metadata"][0]["associated_files"]] == [2, 4]
    assert subgraph["input_tensor_metadata"][0]["stats"] == {"max": [1.0]}
    assert reimport(data).labels == LABELS


def test_a_file_that_happens_to_be_called_labels_is_kept():
    data = embed(make_model(labels=LABELS, files={"labels.txt": b"something else"}))
    _, files = split_appended(data)
    assert files["labels.txt"] == b"something else"
    assert reimport(data).labels == LABELS


def test_metadata_of_another_signature_is_replaced():
    both = [{"name": "a"}, {"name": "b"}]
    flatbuffer, files = split_appended(imported(subgraph_metadata=[
        {"input_tensor_metadata": both, "output_tensor_metadata": both}]))
    assert read_description(flatbuffer, files) == ((), {})
    tree = tree_of(embed(make_model(flatbuffer, labels=LABELS)))
    assert tree["subgraph_metadata"][0]["input_tensor_metadata"] == [{"name": "image"}]


def test_metadata_of_a_newer_version_is_kept_but_not_changed():
    flatbuffer, files = split_appended(imported(min_parser_version="1.6.0"))
    model = make_model(flatbuffer, files=files)
    assert embed(model) == imported(min_parser_version="1.6.0")
    with pytest.raises(EdgekitError, match=r"version 1\.6\.0"):
        embed(make_model(flatbuffer, files=files, labels=LABELS))


def test_a_tokenizer_makes_the_input_tokens():
    unit = {"options_type": "RegexTokenizerOptions",
            "options": {"delim_regex_pattern": " ", "vocab_file": [{"name": "vocab.txt"}]}}
    data = with_metadata(NET, encode({"subgraph_metadata": [
        {"input_tensor_metadata": [{"process_units": [unit]}]}]}))
    assert read_description(data, {})[1] == {"image": InputDescription(kind="tokens")}


def test_real_models_carry_metadata_and_run(emotion_tflite):
    data = emotion_tflite.read_bytes()
    given = InputDescription(kind="image", layout="nhwc", color="grayscale", mean=(0.5,),
                             std=(0.5,))
    labels = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    packed = embed(make_model(data, labels=labels, descriptions={"x": given}))
    back = reimport(packed)
    assert (back.labels, back.descriptions) == (labels, {"x": given})
    assert_same_outputs(data, packed)
    assert len(packed) < len(data) + 1_000
    assert len(zlib.compress(packed)) < len(zlib.compress(data)) + 1_000
