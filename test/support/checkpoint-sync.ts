import assert from 'node:assert/strict';
import { Metadata } from '@grpc/grpc-js';
import { allMethods, type Credential, type TestServer } from './server.ts';

/** One sync stream that keeps what it is sent of the audit log, and shows `held` in its hello. */
export function checkpointSync(
  server: TestServer,
  agent: Credential,
  held = '',
): {
  readonly notes: string[];
  readonly ended: () => boolean;
  readonly welcomed: () => boolean;
  close(): void;
} {
  const method = allMethods()['/meshca.issuer.v1.AgentIssuer/Sync'];
  assert.ok(method !== undefined);
  const notes: string[] = [];
  let over = false;
  let welcome = false;
  const stream = server
    .client(agent)
    .makeBidiStreamRequest(
      method.path,
      method.requestSerialize as (value: object) => Buffer,
      method.responseDeserialize as (bytes: Buffer) => any,
      new Metadata(),
    );
  stream.on('data', (message: { welcome?: object; checkpoint?: { note: string } }) => {
    if (message.welcome) welcome = true;
    if (message.checkpoint) notes.push(message.checkpoint.note);
  });
  stream.on('error', () => (over = true));
  stream.on('end', () => (over = true));
  stream.write({
    hello: {
      protocolVersion: 1,
      agentVersion: 'test',
      capabilities: ['checkpoints'],
      bundleSequence: 0,
      logCheckpoint: held,
    },
  });
  return { notes, ended: () => over, welcomed: () => welcome, close: () => stream.cancel() };
}
