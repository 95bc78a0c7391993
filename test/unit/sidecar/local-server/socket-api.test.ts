import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ServiceDefinition } from '@grpc/grpc-js';
import {
  assertDeclared,
  type ApiService,
  type SocketApi,
} from '../../../../sidecar/local-server/socket-api.ts';

const api: SocketApi = {
  name: 'toy',
  metadata: { kind: 'none', reason: 'a test' },
  callers: { kind: 'workloads' },
  services: () => [],
};

const definitionOf = (requestStream: boolean, responseStream: boolean): ServiceDefinition => ({
  Get: { path: '/toy/Get', requestStream, responseStream } as ServiceDefinition[string],
});

const unary: ApiService['methods'] = { Get: { kind: 'unary', run: async () => ({}) } };
const streamBy = (proof: 'kernel' | 'ack'): ApiService['methods'] => ({
  Get: {
    kind: 'stream',
    proof,
    readers: { consumer: 'proxy', takes: 'roots' },
    withoutIdentity: 'refused',
    open: () => ({
      contents: () => [],
      received: () => 'request',
      stalled: () => {},
      release: () => {},
    }),
  },
});

test('an API answers each method of its services, in the way that the method has', () => {
  for (const [requestStream, responseStream, methods] of [
    [false, false, unary],
    [false, true, streamBy('kernel')],
    [true, true, streamBy('ack')],
  ] as const)
    assertDeclared(api, [{ definition: definitionOf(requestStream, responseStream), methods }]);
});

test('an API that leaves a method out, or answers it in another way, does not start', () => {
  for (const [requestStream, responseStream, methods, said] of [
    [false, false, {}, /does not answer/],
    [false, true, unary, /as if it were a unary/],
    [false, false, streamBy('kernel'), /as if it were a stream/],
    [true, false, unary, /proof of delivery/],
    [false, true, streamBy('ack'), /proof of delivery/],
    [true, true, streamBy('kernel'), /proof of delivery/],
  ] as const)
    assert.throws(
      () =>
        assertDeclared(api, [{ definition: definitionOf(requestStream, responseStream), methods }]),
      (error: { code: string; message: string }) =>
        error.code === 'INTERNAL' && said.test(error.message),
    );
});
