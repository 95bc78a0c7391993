import { PkiError } from '../../src/common/errors/index.ts';
import { systemClock } from '../../src/common/runtime/index.ts';
import { HandshakeLedger, type ServicesDependencies } from '../../src/services/index.ts';

const absent = (what: string) => (): Promise<never> =>
  Promise.reject(new PkiError('INTERNAL', `this test has no ${what}`));

const noLoss: ServicesDependencies['restoreFacts'] = {
  stale: () => undefined,
  lost: () => ({ proven: false, lost: [] }),
  accept: () => Promise.reject(new PkiError('CONFLICT', 'there is no loss to accept')),
};

const noRotation: ServicesDependencies['rotation'] = {
  controller: {
    look: absent('rotation'),
    settle: absent('rotation'),
    poke: () => {},
    onState: () => () => {},
  },
  guard: { accept: absent('rotation'), jumpedSeconds: () => 0 },
  canUse: () => true,
};

/**
 * What services need beside store, issuer and authorities, for tests of services alone: no CRLs, no
 * rotation, no token, and a log in which every record stands.
 */
export function fakeServiceParts(): Pick<
  ServicesDependencies,
  | 'logFacts'
  | 'restoreFacts'
  | 'checkpoints'
  | 'agentBundle'
  | 'handshakes'
  | 'crls'
  | 'rotation'
  | 'sources'
  | 'downstream'
  | 'held'
  | 'clockBelieved'
  | 'untrusted'
  | 'cross'
  | 'crossInChains'
  | 'onDouble'
  | 'onPolled'
  | 'onExchanged'
> {
  return {
    logFacts: {
      origin: 'mesh.test/meshca/audit',
      verifierKey: () => '',
      otherKeys: () => [],
      holds: () => Promise.resolve(true),
      latest: undefined,
    },
    restoreFacts: noLoss,
    checkpoints: {
      latest: () => undefined,
      onCheckpoint: () => () => {},
      seen: () => Promise.resolve(),
    },
    agentBundle: () => {},
    handshakes: new HandshakeLedger(systemClock, 600),
    crls: {
      set: () => [],
      onChange: () => () => {},
      standings: () => [],
      importExternal: absent('CRLs'),
    },
    rotation: noRotation,
    sources: {
      request: absent('sources of authorities'),
      importChain: absent('sources of authorities'),
      prepareUpstream: absent('sources of authorities'),
    },
    downstream: absent('root token'),
    held: () => false,
    clockBelieved: () => true,
    untrusted: () => undefined,
    cross: absent('root token'),
    crossInChains: false,
    onDouble: () => {},
    onExchanged: () => {},
    onPolled: () => {},
  };
}
