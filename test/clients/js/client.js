// Calls the echo of `sluice sample` with @grpc/grpc-js-xds. For each line of its input, "call HOST N", it makes N calls one after the
// other, and prints a line of JSON: how many were answered with which text, and with which error. GRPC_XDS_BOOTSTRAP_CONFIG names the
// server.
'use strict';

const readline = require('node:readline');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');
require('@grpc/grpc-js-xds').register();

const { Echo } = grpc.loadPackageDefinition(protoLoader.loadSync(`${__dirname}/echo.proto`)).sluice.sample;
const clients = new Map();

function clientOf(host) {
  if (!clients.has(host)) {
    clients.set(host, new Echo(`xds:///${host}`, grpc.credentials.createInsecure()));
  }
  return clients.get(host);
}

function once(client) {
  return new Promise((resolve) => {
    client.Echo({ value: 'ping' }, { deadline: Date.now() + 10000 }, (error, reply) => resolve([error, reply]));
  });
}

async function call(host, n) {
  const out = { answers: {}, errors: {} };
  for (let i = 0; i < n; i++) {
    const [error, reply] = await once(clientOf(host));
    const [counts, text] = error ? [out.errors, error.message] : [out.answers, reply.value];
    counts[text] = (counts[text] ?? 0) + 1;
  }
  return out;
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [, host, n] = line.split(' ');
    console.log(JSON.stringify(await call(host, Number(n))));
  }
  process.exit(0); // open channels would keep the process running
}

main();
