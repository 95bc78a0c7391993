import type { ChallengeType, StoredProblem } from '../../domain/index.ts';

const reach =
  'Check that the name leads to this client, that the client answers there, and that the port is open ' +
  'for this CA';
const served =
  'Check that the name leads to this client, and that the port serves what the client puts there';
const spread =
  'Check that the client changes this zone, and let it wait until every name server has the record';

const advice: Readonly<Record<string, string>> = {
  caa: 'Let the owner of the zone add a CAA record for this CA',
  connection: reach,
  dns: 'Correct the records of the name at its name servers, and order again',
  incorrectResponse: served,
  rejectedIdentifier: 'Ask the operators of this CA what it may validate',
  serverInternal: 'Order again',
  tls: reach,
  unauthorized: served,
};

/**
 * What a client is told of a failed challenge: what was wrong and what to do next, in `detail`, since
 * many clients print nothing else. A detail of more than one sentence says it already.
 */
export function advisedProblem(challenge: ChallengeType, problem: StoredProblem): StoredProblem {
  const { type, detail } = problem;
  const byRecord = challenge !== 'http-01' && challenge !== 'tls-alpn-01';
  const next = byRecord && type === 'unauthorized' ? spread : advice[type];
  return next === undefined || detail.includes('. ')
    ? problem
    : { ...problem, detail: `${detail}. ${next}` };
}
