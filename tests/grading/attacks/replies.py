"""Attacks on the wire: what a worker sends is the student's, so any bytes may come at any time."""

# the text of an attack stands on one line

from __future__ import annotations

from attack import Attack, every
from interpreter import WORKER

KIND = "replies"
TOOLS = (
    WORKER
    + """
import json, os, struct, time
sock = worker.sock

def frame(head, *blobs):
    head = head if isinstance(head, bytes) else json.dumps(head).encode()
    body = struct.pack("!II", len(head), len(blobs)) + head
    body += b"".join(struct.pack("!Q", len(blob)) + blob for blob in blobs)
    return struct.pack("!Q", len(body)) + body

def ok(node, *blobs, edits=None):
    return frame({"l": ["ok", node, edits]}, *blobs)

def say(message):
    sock.settimeout(None)
    sock.sendall(message)

def instead(message):
    "Send these bytes in the place of every answer."
    worker._answer = lambda request: say(message)
"""
)


def _bytes(name: str, says: str, message: str, slow: bool = False) -> Attack:
    """Send ``message`` from within the first call, and in the place of every answer after it."""
    return Attack(name, KIND, says, every(f"instead({message})\nsay({message})\nreturn True", TOOLS), slow=slow)


def _node(name: str, says: str, node: str, *blobs: str) -> Attack:
    return _bytes(name, says, f"ok({', '.join((node, *blobs))})")


def _body(name: str, says: str, body: str, slow: bool = False) -> Attack:
    return Attack(name, KIND, says, every(body, TOOLS), slow=slow)


ATTACKS = (
    # lengths
    _bytes("P-huge", "announce a frame of 2^63 bytes", "struct.pack('!Q', 1 << 63) + b'x'"),
    _bytes("P-negative", "announce a frame of -1 bytes", "b'\\xff' * 8"),
    _bytes(
        "P-limit", "announce as much as a frame may hold, and send a little", "struct.pack('!Q', 64 << 20) + b'x'", True
    ),
    _bytes("P-partial", "stop in the middle of a length", "b'\\0\\0\\0'", True),
    _bytes("P-empty", "send a frame of no bytes", "bytes(8)"),
    _bytes("P-random", "send random bytes", "os.urandom(4096)"),
    _bytes("P-head-beyond", "announce a head longer than its frame", "struct.pack('!QII', 8, 1 << 31, 0)"),
    _bytes(
        "P-blobs-beyond", "announce four thousand million blobs", "struct.pack('!QII', 10, 2, (1 << 32) - 1) + b'[]'"
    ),
    _bytes("P-blob-beyond", "announce a blob longer than its frame", "struct.pack('!QIIQ', 18, 2, 1, 1 << 62) + b'[]'"),
    _bytes("P-tail", "hide bytes behind a message", "struct.pack('!QII', 12, 2, 0) + b'[]xx'"),
    # JSON
    _bytes("P-deep", "nest a list 100,000 deep", "frame(b'[' * 100_000)"),
    _bytes("P-deep-tags", "nest tags deeper than allowed", "frame(b'{\"l\":[' * 5000 + b']}' * 5000)"),
    _bytes("P-integer", "send an integer of five million digits", "frame(b'9' * 5_000_000)"),
    _bytes("P-nan", "send NaN and Infinity, which are no JSON", 'frame(b\'{"l":["ok",[NaN,Infinity],null]}\')'),
    _bytes("P-utf8", "send a head that is no text", "frame(b'\\xff\\xfe{}')"),
    _bytes("P-duplicate-keys", "give a node two tags", 'frame(b\'{"l":["error"],"l":["ok",true,null]}\')'),
    _bytes("P-two-tags", "give a node two kinds", "frame({'l': ['ok', True, None], 't': []})"),
    _bytes("P-wide", "fill a frame with 20 million empty lists", "frame(b'[' + b'[],' * 20_000_000 + b'0]')", True),
    _bytes("P-long-text", "answer with a text of 30 million letters", "ok('x' * 30_000_000)"),
    _bytes(
        "P-surrogate",
        "answer with half a character",
        'frame(b\'{"l":["error",{"l":[]},"\\\\ud800","\\\\udfff","\\\\ud800"]}\')',
    ),
    # values
    _node("P-huge-integer", "send an integer of 100,000 bits", "{'i': '0x' + 'f' * 25_000}"),
    _node("P-float", "send a float that is none", "{'f': 'import os'}"),
    _node("P-fraction", "send a fraction over zero", "{'q': ['0x1', '0x0']}"),
    _node(
        "P-shape", "send a shape that its bytes do not fill", "{'T': ['float32', [1 << 30], None, 0, None]}", "b'1234'"
    ),
    _node("P-negative-shape", "send a shape below zero", "{'T': ['float32', [-1, -4], None, 0, None]}", "b'1234'"),
    _node(
        "P-strides",
        "send strides that lead out of the bytes",
        "{'T': ['uint8', [2, 2], [1 << 30, 1], 0, None]}",
        "b'1234'",
    ),
    _node("P-negative-strides", "send strides below zero", "{'T': ['uint8', [4], [-1], 0, None]}", "b'1234'"),
    _node("P-overlap", "send one byte as 2^39 values", "{'T': ['uint8', [1 << 20, 1 << 19], [0, 0], 0, None]}", "b'1'"),
    _node("P-hollow", "send no bytes as 2^39 empty rows", "{'T': ['float32', [1 << 39, 0], None, 0, None]}", "b''"),
    _node("P-axes", "send a tensor of 65 axes", "{'T': ['uint8', [1] * 65, None, 0, None]}", "b'1'"),
    _node("P-dtype", "send a dtype that does not exist", "{'T': ['object', [1], None, 0, None]}", "b'12345678'"),
    _node("P-bool", "send a bool that is 7", "{'T': ['bool', [1], None, 0, None]}", "b'\\7'"),
    _node("P-numpy-object", "send a numpy array of objects", "{'n': ['object', [1], 0]}", "bytes(8)"),
    _node("P-blob-index", "name a blob that was not sent", "{'b': 99}"),
    _node("P-blob-negative", "name the blob before the first", "{'b': -1}"),
    _node("P-size", "send a torch.Size of huge and negative numbers", "{'z': [-5, 1 << 60]}"),
    _node("P-range", "send a range that takes for ever to list", "{'r': [0, 1 << 60, 1]}"),
    _node("P-unhashable", "send a dict whose key is a list", "{'d': [[{'l': []}, 1]]}"),
    _node(
        "P-collisions",
        "send a set of numbers that share one hash",
        "{'S': [{'i': hex(i * ((1 << 61) - 1))} for i in range(1, 40_000)]}",
    ),
    _node("P-device", "send a device that the judge has not", "{'v': 'cuda:0'}"),
    _node("P-parameter", "send a parameter of integers", "{'P': ['int8', [1], None, 0, None]}", "b'1'"),
    _node("P-dataclass", "send a dataclass of another module", "{'D': ['subprocess:Popen', [['args', 'id']]]}"),
    _node(
        "P-dataclass-fields",
        "send a course dataclass with other fields",
        "{'D': ['frugal.quant.affine:QParams', [['scale', 1], ['evil', 2]]]}",
    ),
    _node("P-global", "send a name to be imported, as the judge does", "{'g': 'os:system'}"),
    _node("P-module", "send a network to be built, as the judge does", "{'m': {'class': 'torch.nn:Linear'}}"),
    _node("P-generator", "send a state to be loaded, as the judge does", "{'G': {'b': 0}}", "b'x'"),
    _node("P-target", "send a stand-in of the judge's", "{'h': ['os', 'system']}"),
    _node("P-handle", "send a handle whose name is no name", "{'H': [1, 'function', '__class__; import os']}"),
    _node("P-handle-text", "send a handle that is a path", "{'H': ['../../etc/passwd', 'object', 'x']}"),
    _node("P-network", "send a network and then a state that is none", "{'M': [1, 'Net']}"),
    _node("P-callback", "hand back a function that was never given", "{'C': 5}"),
    _node(
        "P-alias", "claim to be an argument that was never sent", "{'T': ['uint8', [1], None, 0, ['a', -1]]}", "b'1'"
    ),
    _node(
        "P-output",
        "claim to be an output of the graph out of turn",
        "{'T': ['float32', [1], None, 0, ['o', 7]]}",
        "b'1234'",
    ),
    # words of the protocol
    _bytes("P-hello", "say hello again", "frame({'l': ['hello', {'l': []}]})"),
    _bytes("P-broken", "say that the judge is broken", "frame({'l': ['broken', 'on your side']})"),
    _bytes("P-result", "say what only a referee says", 'b\'{"result": {"points": 34}, "end": true}\\n\''),
    _bytes("P-short", "answer with one word", "frame({'l': ['ok']})"),
    _bytes("P-number", "answer with a number", "frame(3)"),
    _bytes("P-unsendable", "say that the answer cannot be sent", "frame({'l': ['unsendable', 'x' * 100]})"),
    _bytes(
        "P-error-kinds",
        "raise kinds that are no errors",
        "frame({'l': ['error', {'l': ['object', 'Foul', 3, 'KeyboardInterrupt', 'SystemExit']}, 'x', 'y', 'z']})",
    ),
    _bytes(
        "P-error-lists", "raise lists instead of words", "frame({'l': ['error', {'l': []}, {'l': []}, {'d': []}, 1]})"
    ),
    _bytes(
        "P-callback-unknown",
        "call back a function that was never given",
        "frame({'l': ['callback', -1, {'l': []}, {'d': []}]})",
        True,
    ),
    _bytes("P-callback-shape", "call back without arguments", "frame({'l': ['callback']})"),
    _bytes("P-two", "answer twice", "ok(True) * 2"),
    _bytes("P-flood", "answer a thousand questions before they are asked", "ok(True) * 1000"),
    _bytes(
        "P-flood-errors",
        "have a thousand refusals ready",
        "frame({'l': ['error', {'l': ['ValueError']}, 'ValueError', 'x', '']}) * 1000",
    ),
    _body("P-before", "answer before the question comes", "say(ok(True))\nreturn True"),
    _body("P-close", "hang up", "sock.close()\nreturn True"),
    _body("P-shutdown", "hang up one half", "import socket\nsock.shutdown(socket.SHUT_WR)\ntime.sleep(60)"),
    _body(
        "P-endless",
        "send without end",
        "try:\n    while True:\n        say(bytes(1 << 16))\nexcept OSError:\n    os._exit(0)",
    ),
    _body(
        "P-callbacks",
        "call back without end",
        "while True:\n    say(frame({'l': ['callback', 0, {'l': []}, {'d': []}]}))",
        True,
    ),
    _body(
        "P-dribble",
        "send an answer a byte at a time",
        "for byte in ok(True):\n    say(bytes([byte]))\n    time.sleep(0.3)",
        True,
    ),
    _body("P-silence", "read the questions and say nothing", "instead(b'')\nreturn True", True),
)
