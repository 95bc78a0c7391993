import type { DelegateStreams } from '../callers/delegate-streams.ts';
import type { ServicesDependencies } from '../services-dependencies.ts';
import { DueCertificates } from './due-certificates.ts';
import { WatchHub } from './watch-hub.ts';
import { WatchState } from './watch-state.ts';

export function createWatch(
  { store, authorities, crls, clock, settings, rotation, inventory }: ServicesDependencies,
  streams: DelegateStreams,
): WatchHub {
  const { watchers, issuance } = store;
  const state = new WatchState({
    ...{ authorities, crls, watchers, clock },
    trustDomainName: settings.trustDomain.name,
    taintWindowSeconds: settings.taintWindowSeconds,
  });
  const { certificates, revocations, blockedKeys } = store;
  const due = new DueCertificates({
    ...{ certificates, revocations, blockedKeys, watchers, authorities, inventory, clock },
  });
  const { taintWindowSeconds } = settings;
  return new WatchHub({
    replacements: { due, taintWindowSeconds, clock },
    ...{ state, streams, authorities, crls, watchers, issuance, clock },
    onHeld: () => rotation.controller.poke(),
  });
}
