import type { AcmeAccount__Output } from '../common/wire/generated/meshca/admin/v1/AcmeAccount.ts';
import type { AcmeAuthorization__Output } from '../common/wire/generated/meshca/admin/v1/AcmeAuthorization.ts';
import type { AcmeChallenge__Output } from '../common/wire/generated/meshca/admin/v1/AcmeChallenge.ts';
import type { AcmeOrder__Output } from '../common/wire/generated/meshca/admin/v1/AcmeOrder.ts';
import type { EabKey__Output } from '../common/wire/generated/meshca/admin/v1/EabKey.ts';
import type { AcmePerspective__Output } from '../common/wire/generated/meshca/admin/v1/AcmePerspective.ts';
import { namesOf, orderedName } from './acme-view.ts';
import { instant, until } from './output.ts';

/** An order with what decides on it. Undefined: the reader may not see it, or it is gone. */
export interface ExplainedOrder {
  readonly order: AcmeOrder__Output;
  readonly account: AcmeAccount__Output | undefined;
  readonly key: EabKey__Output | undefined;
  readonly now: number;
}

/** Where an order stands, why, and what to do: one sentence a line. */
export function explainOrder(explained: ExplainedOrder): readonly string[] {
  const { order } = explained;
  return [
    `The order is for ${namesOf(order).join(', ')}, by the account ${order.accountId} of the ` +
      `tenant ${order.tenant}; it was made ${instant(order.createdAt)}.`,
    ...order.authorizations.flatMap((each) => [
      authorizationLine(each),
      ...(each.caaAt === 0
        ? []
        : [`- Its CAA records were looked at again ${instant(each.caaAt)}.`]),
      ...each.challenges.flatMap(({ perspectives }) => perspectives.map(perspectiveLine)),
    ]),
    ...endsOf(explained),
    ...statusLines(explained),
  ];
}

function authorizationLine(authorization: AcmeAuthorization__Output): string {
  const name = orderedName(authorization);
  if (authorization.shownBy === 'owner')
    return `${name} is ${authorization.status}: its tenant owns it, and its EAB key asks for no challenge.`;
  const asked = authorization.challenges.filter(({ status }) => status !== 'pending');
  if (asked.length > 0)
    return `${name} is ${authorization.status}: ${asked.map(challengeText).join('; ')}.`;
  return (
    `${name} is ${authorization.status}: the client asked for no validation. ` +
    `Offered are ${authorization.challenges.map(({ type }) => type).join(', ')}.`
  );
}

/** What a vantage agent saw. */
function perspectiveLine({ name, result, code, seenAt }: AcmePerspective__Output): string {
  const where = seenAt.length === 0 ? '' : `, at ${seenAt.join(', ')}`;
  if (result === 'agreed') return `- ${name} sees the same${where}.`;
  return result === 'disagreed'
    ? `- ${name} sees something else: ${code}${where}.`
    : `- ${name} has not looked: ${absences[code] ?? code}.`;
}

const absences: Readonly<Record<string, string>> = {
  'not-connected': 'none of its agents is connected',
  silent: 'its agent did not answer in time',
  refused: 'its agent refused, and its own log says why',
  overloaded: 'its agent had too many validations under way',
  malformed: 'its agent gave no proper answer',
};

function challengeText({ type, status, validatedAt, problem }: AcmeChallenge__Output): string {
  if (status === 'valid') return `${type} was shown ${instant(validatedAt)}`;
  if (status === 'processing' && problem === null) return `${type} is being validated`;
  if (status === 'processing') return `${type} waits: ${problem?.detail.replace(/\.$/, '')}`;
  return `${type} failed${problem ? `: ${problem.type}: ${problem.detail.replace(/\.$/, '')}` : ''}`;
}

/** Who has no right any more: nothing is issued, whatever the order says. */
function endsOf({ account, key, now }: ExplainedOrder): readonly string[] {
  const lines: string[] = [];
  if (account !== undefined && account.status !== 'valid')
    lines.push(`Its account is ${account.status}: nothing is issued to it.`);
  if (key !== undefined && key.revokedAt > 0)
    lines.push(`Its EAB key was revoked ${instant(key.revokedAt)}: nothing is issued by it.`);
  else if (key !== undefined && key.expiresAt > 0 && key.expiresAt <= now)
    lines.push(`Its EAB key expired ${instant(key.expiresAt)}: nothing is issued by it.`);
  else if (key !== undefined && key.ended !== '')
    lines.push(`Nothing is issued by its EAB key: ${key.ended}.`);
  return lines;
}

function statusLines({ order, now }: ExplainedOrder): readonly string[] {
  switch (order.status) {
    case 'valid':
      return [`Its certificate has the serial ${order.serial}.`];
    case 'processing':
      return [
        'The certificate is being issued. If the token or the database is away, issuing goes on ' +
          'when it is back.',
        'Next: see "meshca status" if it stays so.',
      ];
    case 'ready':
      return [
        'Every name is shown, and the client has not asked for the certificate yet.',
        `Next: look at the client; its time ends ${until(order.expiresAt, now)}.`,
      ];
    case 'pending':
      return [`Next: the client shows the names that are pending; ${pendingTime(order, now)}.`];
    default:
      return [invalidReason(order, now), `Next: ${invalidAdvice(order)}`];
  }
}

const pendingTime = ({ expiresAt }: AcmeOrder__Output, now: number): string =>
  `its time ends ${until(expiresAt, now)}`;

function invalidReason(order: AcmeOrder__Output, now: number): string {
  if (order.problem) return `It is refused: ${order.problem.type}: ${order.problem.detail}`;
  const failed = order.authorizations.find(
    ({ status }) => status !== 'valid' && status !== 'pending',
  );
  if (failed !== undefined)
    return `It is invalid, because ${orderedName(failed)} is ${failed.status}.`;
  return order.expiresAt < now ? `Its time ended ${instant(order.expiresAt)}.` : 'It is invalid.';
}

/** What helps against the problem of the order, or of its first failed challenge. */
function invalidAdvice({ problem, authorizations }: AcmeOrder__Output): string {
  const failed = authorizations
    .flatMap(({ challenges }) => challenges)
    .find(({ problem: each }) => each !== null)?.problem;
  const type = (problem ?? failed)?.type.split(':').at(-1) ?? '';
  return advice[type] ?? 'correct what the message says, and let the client make a new order.';
}

const advice: Readonly<Record<string, string>> = {
  connection:
    'the server could not reach the name. Check that the name points to the client, that its port ' +
    'is open from here, and that the address is in acme.validation.allowedNetworks.',
  dns: 'the name could not be resolved. Check its records at its authoritative servers.',
  incorrectResponse:
    'something else answered than the client. Check that the name points to it, and that no other ' +
    'server answers on the port.',
  unauthorized:
    'the name, or the record, has another value than the challenge asks for. Check that the client ' +
    'writes where the message says.',
  caa: 'a CAA record of the name forbids this CA. Add one of the names in acme.caaIdentities.',
  tls: 'the TLS handshake of tls-alpn-01 failed. Check that the client itself answers on port 443.',
  rejectedIdentifier: 'let an operator make an EAB key that covers the name.',
  badCSR: 'the CSR differs from the order. Look at the names and the key of the client.',
  rateLimited: 'wait as the message says, or let an operator raise the limit.',
};
