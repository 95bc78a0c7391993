import type { Command } from 'commander';
import { recordKinds } from '../common/tlog/index.ts';
import { keyTypes } from '../common/x509/index.ts';

const entryProfiles = ['short-lived', 'revocable', 'short', 'classic'];
const delegationProfiles = [...entryProfiles, 'hours'];
const authorityKinds = ['root', 'issuing', 'jwt', 'names-root', 'names-issuing'];

/** The states of authorities, as the server knows them. */
export const authorityStates = [
  'preparing',
  'prepared',
  'published',
  'active',
  'old',
  'tainted',
  'revoked',
  'retired',
  'discarded',
  'withdrawn',
];

/** The kinds of certificates, as the server knows them. */
export const certificateKinds = [
  'workload',
  'agent',
  'server',
  'admin',
  'delegated',
  'token',
  'endpoint',
  'linkerd',
  'authority',
];

const namesProfiles = ['short', 'classic', 'hours'];

/** The clients for which the CLI prints a command line. */
export const acmeClients = ['certbot', 'lego', 'acme.sh', 'caddy', 'cert-manager'] as const;

/** The values that completion offers, by command and option, or by option alone. */
const values: Readonly<Record<string, readonly string[]>> = {
  '--key-type': keyTypes,
  '--profile': entryProfiles,
  '--not-kind': recordKinds,
  '--for': acmeClients,
  'meshca acme account list --status': ['valid', 'deactivated', 'revoked'],
  'meshca acme key create --accounts': ['many', 'single'],
  'meshca acme key create --challenge': [
    'http-01',
    'dns-01',
    'tls-alpn-01',
    'dns-account-01',
    'dns-persist-01',
  ],
  'meshca acme key create --profile': namesProfiles,
  'meshca acme key exchange --profile': namesProfiles,
  'meshca acme key create --proof': ['challenge', 'owner'],
  'meshca acme order list --status': ['pending', 'ready', 'processing', 'valid', 'invalid'],
  'meshca agent list --state': ['active', 'banned', 'evicted'],
  'meshca audit list --kind': recordKinds,
  'meshca audit search --kind': recordKinds,
  'meshca audit watch --kind': recordKinds,
  'meshca authority activate --kind': authorityKinds,
  'meshca authority list --kind': [...authorityKinds, 'log', 'ocsp'],
  'meshca authority list --state': authorityStates,
  'meshca authority prepare --kind': authorityKinds,
  'meshca authority publish --kind': authorityKinds,
  'meshca authority rotate --kind': authorityKinds,
  'meshca authority rotate --until': ['active', 'retired'],
  'meshca bundle show --format': ['pem', 'spiffe', 'fingerprints'],
  'meshca certificate list --kind': certificateKinds,
  'meshca certificate issue --profile': ['short', 'classic'],
  'meshca certificate list --profile': [...delegationProfiles, 'server', 'linkerd', 'authority'],
  'meshca certificate list --order': ['newest', 'created', 'expiry'],
  'meshca certificate list --state': ['intent', 'issued', 'withheld', 'refused', 'abandoned'],
  'meshca certificate revoke --reason': [
    'unspecified',
    'keyCompromise',
    'affiliationChanged',
    'superseded',
    'cessationOfOperation',
    'privilegeWithdrawn',
  ],
  'meshca delegation create --profile': delegationProfiles,
  'meshca validate --schema': ['server', 'agent'],
};

/** The values of an argument, by command. */
const words: Readonly<Record<string, readonly string[]>> = {
  'meshca agent api fetch': ['x509', 'jwt'],
  'meshca completion': ['bash', 'zsh', 'fish'],
  'meshca healthcheck': ['server', 'agent'],
};

export const argumentValues = (path: string): readonly string[] => words[path] ?? [];

/** The values of the command's options, by their flag. */
export const optionValues = (
  command: Command,
  path: string,
): readonly (readonly [flag: string, values: readonly string[]])[] =>
  command.options.flatMap(({ long }) => {
    const known = long ? (values[`${path} ${long}`] ?? values[long]) : undefined;
    return long && known !== undefined ? [[long, known] as const] : [];
  });

export const valuedOptions = Object.keys(values);
