import type { DelegateStreams } from '../callers/delegate-streams.ts';
import type { ServicesDependencies } from '../services-dependencies.ts';
import { WatchHub } from './watch-hub.ts';
import { WatchState } from './watch-state.ts';

export function createWatch(
  { store, authorities, crls, clock, settings, rotation }: ServicesDependencies,
  streams: DelegateStreams,
): WatchHub {
  const { watchers, issuance } = store;
  const state = new WatchState({
    ...{ authorities, crls, watchers, clock },
    trustDomainName: settings.trustDomain.name,
    taintWindowSeconds: settings.taintWindowSeconds,
  });
  return new WatchHub({
    ...{ state, streams, authorities, crls, watchers, issuance, clock },
    onHeld: () => rotation.controller.poke(),
  });
}
