import { credentials, type ServiceError } from '@grpc/grpc-js';
import { silentLogger, systemRandom } from '../../../../../src/common/runtime/index.ts';
import { sdsContract } from '../../../../../src/common/wire/index.ts';
import type { DeltaDiscoveryRequest } from '../../../../../src/common/wire/generated/envoy/service/discovery/v3/DeltaDiscoveryRequest.ts';
import type { DeltaDiscoveryResponse__Output } from '../../../../../src/common/wire/generated/envoy/service/discovery/v3/DeltaDiscoveryResponse.ts';
import type { DiscoveryRequest } from '../../../../../src/common/wire/generated/envoy/service/discovery/v3/DiscoveryRequest.ts';
import type { DiscoveryResponse__Output } from '../../../../../src/common/wire/generated/envoy/service/discovery/v3/DiscoveryResponse.ts';
import { sdsApi, type SdsDependencies } from '../../../../../sidecar/apis/sds/index.ts';
import type { LocalServerLimits } from '../../../../../sidecar/local-server/index.ts';
import { createRoot, createSvid } from '../../../../support/test-pki.ts';
import {
  collect,
  startHarness,
  type Harness,
  type HarnessOptions,
} from '../../local-server/support.ts';

export const secretType = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';

const ca = createRoot('td.test');

const silentMetrics: SdsDependencies['metrics'] = {
  refusedByProxy: () => {},
  notGranted: () => {},
  keyMismatch: () => {},
  crlsWithheld: () => {},
};

/** A socket with secret discovery, whose certificates have keys that fit. */
export async function startSds(
  options: Pick<HarnessOptions, 'clock'> & {
    readonly change?: Partial<SdsDependencies>;
    readonly limits?: Partial<LocalServerLimits>;
  } = {},
): Promise<Harness> {
  const { change, limits = {}, ...rest } = options;
  const harness = await startHarness({
    ...rest,
    api: {
      limits,
      more: (parts) =>
        sdsApi({
          ...parts,
          validation: {
            names: { defaultSvid: 'default', ownBundle: 'ROOTCA', allBundles: 'ALL' },
            spiffeValidator: true,
          },
          crls: 'none',
          issuers: () => [],
          random: systemRandom,
          logger: silentLogger,
          metrics: silentMetrics,
          ...change,
        }),
    },
  });
  harness.svids.pair = ({ spiffeId }) => {
    const { chainDer, keyDer } = createSvid(ca, spiffeId.toString());
    return { chainDer, privateKeyPkcs8Der: keyDer };
  };
  return harness;
}

function connect(harness: Harness) {
  const { SecretDiscoveryService } = sdsContract().packages.envoy.service.secret.v3;
  return new SecretDiscoveryService(`unix:${harness.path}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  });
}

/** How a call of the unary method ends. */
export async function fetchSecrets(harness: Harness): Promise<ServiceError> {
  const client = connect(harness);
  const error = await new Promise<ServiceError | null>((resolve) => {
    client.FetchSecrets({}, resolve);
  });
  client.close();
  if (error === null) throw new Error('it was answered');
  return error;
}

/** StreamSecrets as Envoy uses it. */
export function openFull(harness: Harness) {
  const client = connect(harness);
  const stream = client.StreamSecrets();
  const received = collect<DiscoveryResponse__Output>(stream);
  let names: readonly string[] = [];
  const send = (request: DiscoveryRequest): void =>
    void stream.write({ typeUrl: secretType, resourceNames: [...names], ...request });
  return {
    ...received,
    send,
    ask(...wanted: readonly string[]): void {
      names = wanted;
      send({ node: { id: 'proxy-1', cluster: 'c' } });
    },
    /** Acknowledges the response with this number, counted from 0. */
    ack(index: number): void {
      const { nonce, versionInfo } = received.messages[index] as DiscoveryResponse__Output;
      send({ responseNonce: nonce, versionInfo });
    },
    nack(index: number, message: string): void {
      const { nonce } = received.messages[index] as DiscoveryResponse__Output;
      send({ responseNonce: nonce, errorDetail: { code: 13, message } });
    },
    names: () =>
      received.messages.map(({ resources }) => resources.map(({ value }) => value?.name).join()),
    secret: (index: number) => received.messages[index]?.resources[0]?.value,
    [Symbol.dispose]() {
      stream.cancel();
      client.close();
    },
  };
}

export function openDelta(harness: Harness) {
  const client = connect(harness);
  const stream = client.DeltaSecrets();
  const received = collect<DeltaDiscoveryResponse__Output>(stream);
  const send = (request: DeltaDiscoveryRequest): void =>
    void stream.write({ typeUrl: secretType, ...request });
  return {
    ...received,
    send,
    ack: (index: number): void =>
      send({ responseNonce: received.messages[index]?.nonce as string }),
    names: () => received.messages.map(({ resources }) => resources.map(({ name }) => name).join()),
    version: (index: number) => received.messages[index]?.resources[0]?.version as string,
    [Symbol.dispose]() {
      stream.cancel();
      client.close();
    },
  };
}
