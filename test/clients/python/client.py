"""Calls the echo of `sluice sample` by gRPC's C core, which finds the server by GRPC_XDS_BOOTSTRAP_CONFIG.

Each line of the input, "call HOST N", is N calls one after the other, and is answered with a line of JSON: how many came
back with which text, and with which error.
"""

import collections
import json
import sys

import grpc
from google.protobuf import wrappers_pb2

channels = {}  # by host; one that is not kept would end its subscription
echoes = {}


def echo_of(host):
    if host not in echoes:
        channel = grpc.insecure_channel("xds:///" + host)
        # C core does its work in threads that wait for something. Without one that always does, it would neither
        # connect nor read what the server says while no call runs.
        channel.subscribe(lambda state: None)
        channels[host] = channel
        echoes[host] = channel.unary_unary(
            "/sluice.sample.Echo/Echo",
            request_serializer=wrappers_pb2.StringValue.SerializeToString,
            response_deserializer=wrappers_pb2.StringValue.FromString,
        )
    return echoes[host]


def call(host, n):
    answers, errors = collections.Counter(), collections.Counter()
    for _ in range(n):
        try:
            answers[echo_of(host)(wrappers_pb2.StringValue(value="ping"), timeout=10).value] += 1
        except grpc.RpcError as error:
            errors[f"{error.code().name}: {error.details()}"] += 1
    return {"answers": answers, "errors": errors}


for line in sys.stdin:
    _, host, n = line.split()
    print(json.dumps(call(host, int(n))), flush=True)
