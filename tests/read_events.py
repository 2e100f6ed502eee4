#!/usr/bin/python3
"""Reads a run's TensorBoard event files as a stranger would and compares them with its journals.

Framing and CRC-32C are computed here, messages decoded by protoc with tests/events.proto. Every
metric of metrics.jsonl must come back rounded to float32, each step once and in order. Arguments:
the run directory, stages (default: all that have a journal).
"""
import glob
import json
import math
import os
import re
import struct
import subprocess
import sys

import h5py
import numpy as np

run = sys.argv[1]
STAGES = ["pretrain", "sft", "label", "reward", "ppo", "evaluate"]
HERE = os.path.dirname(os.path.abspath(__file__))

CRC = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    CRC.append(byte)


def masked_crc(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


assert masked_crc(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path):
    """What the records of the file hold, every length and checksum verified."""
    with open(path, "rb") as file:
        data = file.read()
    at, found = 0, []
    while at < len(data):
        length, check = struct.unpack_from("<QI", data, at)
        assert check == masked_crc(data[at : at + 8]), f"{path}: checksum of a length at {at}"
        body = data[at + 12 : at + 12 + length]
        assert len(body) == length, f"{path}: torn record at {at}"
        (check,) = struct.unpack_from("<I", data, at + 12 + length)
        assert check == masked_crc(body), f"{path}: checksum of a record at {at}"
        found.append(body)
        at += 16 + length
    return found


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def unquote(text):
    """A string of protoc's text format as bytes: octal and C escapes."""
    plain = {"n": b"\n", "r": b"\r", "t": b"\t", '"': b'"', "'": b"'", "\\": b"\\"}
    out, at = b"", 1
    while at < len(text) - 1:
        if text[at] != "\\":
            out, at = out + text[at].encode(), at + 1
        elif text[at + 1] in plain:
            out, at = out + plain[text[at + 1]], at + 2
        else:
            out, at = out + bytes([int(text[at + 1 : at + 4], 8)]), at + 4
    return out


def parse(lines):
    """protoc's text format as dictionaries of lists."""
    message = {}
    for line in lines:
        line = line.strip()
        if line == "}":
            break
        opened = re.fullmatch(r"(\w+) \{", line)
        if opened:
            message.setdefault(opened[1], []).append(parse(lines))
            continue
        key, value = line.split(": ", 1)
        assert not key.isdigit(), f"an unknown field: {line}"
        message.setdefault(key, []).append(unquote(value) if value[0] == '"' else value)
    return message


def events_of(path):
    wire = b"".join(b"\x0a" + varint(len(body)) + body for body in records(path))
    text = subprocess.run(
        ["protoc", f"--proto_path={HERE}", "--decode=Events", "events.proto"],
        input=wire, capture_output=True, check=True,
    ).stdout.decode()
    return parse(iter(text.splitlines()))["event"]


def journal_of(stage):
    with open(os.path.join(run, stage, "metrics.jsonl"), encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.endswith("\n")]


def step_of(event):
    return int(event.get("step", ["0"])[0])


def values_of(events, kind):
    """(step, tag, value) of every value of that kind."""
    return [
        (step_of(event), value["tag"][0].decode(), value[kind][0])
        for event in events
        for summary in event.get("summary", [])
        for value in summary["value"]
        if kind in value
    ]


def number(text):
    return float(text.replace("infinity", "inf"))


def check_scalars(stage, events):
    expected = [
        (row["step"], name, np.float32(math.inf if value is None else value))
        for row in journal_of(stage)
        for name, value in row.items()
        if name != "step"
    ]
    found = [(step, tag, np.float32(number(value)))
             for step, tag, value in values_of(events, "simple_value")]
    assert len(found) == len(expected), f"{stage}: {len(found)} scalars, not {len(expected)}"
    for one, other in zip(found, expected):
        assert one == other, f"{stage}: {one}, the journal has {other}"
    return len(found)


def check_session(stage, events):
    assert events[0]["file_version"] == [b"brain.Event:2"] and step_of(events[0]) == 0
    steps = [step_of(event) for event in events]
    assert steps == sorted(steps), f"{stage}: steps fall"
    sessions = [
        (value["tag"][0], value["metadata"][0]["plugin_data"][0])
        for event in events
        for summary in event.get("summary", [])
        for value in summary["value"]
        if value["tag"][0].startswith(b"_hparams_/")
    ]
    tags = [tag for tag, _ in sessions]
    ends = [b"_hparams_/session_end_info"] if finished(stage) else []
    assert tags == [b"_hparams_/session_start_info"] + ends, f"{stage}: {tags}"
    start = sessions[0][1]["content"][0]["session_start_info"][0]
    assert sessions[0][1]["plugin_name"] == [b"hparams"] and start["group_name"] == [run.encode()]
    settings = {}
    for entry in start["hparams"]:
        (kind, value), = entry["value"][0].items()
        value = value[0]
        settings[entry["key"][0].decode()] = (
            value.decode() if kind == "string_value"
            else value == "true" if kind == "bool_value" else number(value))
    with open(os.path.join(run, "config.json"), encoding="utf-8") as text:
        config = json.load(text)
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{name}": one for name, one in value.items()})
        else:
            flat[key] = value
    assert settings == flat, {key for key in settings.keys() | flat.keys()
                              if settings.get(key) != flat.get(key)}


def finished(stage):
    return os.path.exists(os.path.join(run, stage, "manifest.json"))


def check_histograms(events):
    """Of every PPO step, against its rollout file."""
    found = {(step, tag): value for step, tag, value in values_of(events, "histo")}
    steps = [row["step"] for row in journal_of("ppo")]
    tags = ["rollout/log_ratio", "rollout/advantage", "rollout/score", "rollout/response_length"]
    assert sorted(found) == sorted((step, tag) for step in steps for tag in tags)
    for step in steps:
        with h5py.File(os.path.join(run, "ppo", "rollouts", f"{step:06d}.h5")) as file:
            response = file["token/is_response"][()] == 1
            logp, reference = file["token/logp"][()], file["token/reference_logp"][()]
            data = [
                (logp - reference)[response],
                file["token/advantage"][()][response],
                file["rollout/score"][()],
                file["rollout/response_length"][()],
            ]
        for tag, values in zip(tags, data):
            values = values.astype(np.float64)
            histogram = {key: [number(one) for one in value]
                         for key, value in found[step, tag].items()}
            get = lambda key: histogram.get(key, [0.0])[0]
            assert get("num") == len(values) and get("min") == values.min()
            assert get("max") == values.max() == histogram["bucket_limit"][-1]
            assert math.isclose(get("sum"), values.sum(), rel_tol=1e-6, abs_tol=1e-6)
            assert math.isclose(get("sum_squares"), (values**2).sum(), rel_tol=1e-6, abs_tol=1e-9)
            bins = histogram["bucket"]
            assert len(bins) == len(histogram["bucket_limit"]) == 30 and sum(bins) == len(values)
            # Below every edge as many as there are; a value on an edge may fall to either side.
            edges, below = np.array(histogram["bucket_limit"]), np.cumsum(bins)
            slack = 1e-9 * (1 + np.abs(edges))
            least = (values < (edges - slack)[:, None]).sum(axis=1)
            most = (values <= (edges + slack)[:, None]).sum(axis=1)
            assert (least <= below).all() and (below <= most).all(), (step, tag)
    return len(found)


def check_texts(events):
    """The newest answers in the file are those of samples.h5."""
    tables = values_of(events, "tensor")
    tables = [(step, tensor) for step, tag, tensor in tables if tag == "samples/text_summary"]
    with h5py.File(os.path.join(run, "ppo", "samples.h5")) as file:
        steps = file["sample/step"][()]
        prompts, answers = file["text/prompt"][()], file["text/response"][()]
        score = file["sample/score"][()]
    written = [step for step, _ in tables]
    assert written == sorted(set(steps.tolist())), (written, steps)
    for step, tensor in tables:
        assert [d["size"][0] for d in tensor["tensor_shape"][0]["dim"]] == ["17", "4"]
        cells = tensor["string_val"]
        assert cells[:4] == [b"prompt", b"answer", b"score", b"gold"] and len(cells) == 68
        for row, i in enumerate(np.flatnonzero(steps == step)):
            assert cells[4 * row + 4] == prompts[i] and cells[4 * row + 5] == answers[i]
            assert abs(float(cells[4 * row + 6]) - score[i]) < 1e-3
    return len(tables)


counts = []
for stage in sys.argv[2:] or [s for s in STAGES if os.path.exists(f"{run}/{s}/metrics.jsonl")]:
    files = glob.glob(os.path.join(run, stage, "events.out.tfevents.*"))
    assert len(files) == 1, f"{stage}: {files}"
    name = os.path.basename(files[0])
    assert re.fullmatch(r"events\.out\.tfevents\.\d{10}\..+\.\d+\.0", name), name
    decoded = events_of(files[0])
    check_session(stage, decoded)
    counts.append(f"{stage} {check_scalars(stage, decoded)}")
    if stage == "ppo":
        counts.append(f"histograms {check_histograms(decoded)}, texts {check_texts(decoded)}")
print("read_events: " + ", ".join(counts))
