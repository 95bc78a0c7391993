import { isAbsolute, resolve } from 'node:path';
import { z } from 'zod';
import { SpiffeId, TrustDomain } from '../../src/common/spiffe/index.ts';
import { keyTypes } from '../../src/common/x509/key-type.ts';
import { driverSettingsSchema, driverTypes } from './drivers/index.ts';
import { layoutNames } from './layouts.ts';
import { pemKinds } from './set-files.ts';

const absolutePath = (description: string) =>
  z
    .string()
    .refine(
      (path) => isAbsolute(path) && resolve(path) === path,
      'write it as an absolute path without "." or ".." in it and without "/" at its end',
    )
    .describe(description);

const fileName = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/, 'write it as a plain name of a file')
  .refine((name) => name !== 'current' && name !== 'sets', 'the agent itself uses this name');

/** Without quotes YAML reads a number. */
const octalDigits = 'write it as three octal digits in quotes, such as "0640"';

/** Nobody but the owner writes. */
const mode = (description: string) =>
  z
    .string(octalDigits)
    .regex(/^0?[0-7]{3}$/, octalDigits)
    .refine((text) => (Number.parseInt(text, 8) & 0o022) === 0, 'others than the owner may write')
    .describe(description);

const account = (description: string) =>
  z
    .union([z.string().regex(/^[a-z_][a-z0-9_.-]{0,31}\$?$/), z.number().int().min(0)])
    .describe(`${description}: name or number`);

const keyStore = (description: string) =>
  z
    .strictObject({
      name: fileName,
      passwordFile: absolutePath('A file that holds the password on one line; closed to others'),
      alias: z
        .string()
        .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'write it in small letters, digits, ".", "_" and "-"')
        .default('meshca')
        .describe('Name of the entry'),
    })
    .describe(description);

const listener = z.strictObject({
  address: z
    .string()
    .regex(
      /^(\/.+|(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5})$/,
      'write it as host:port, or as the absolute path of a Unix socket',
    )
    .describe('host:port, or the absolute path of a Unix socket'),
  serverName: z.string().min(1).optional().describe('The name that the handshake asks for (SNI)'),
  protocol: z
    .enum(['tls', 'postgresql', 'mysql', 'smtp', 'ldap'])
    .default('tls')
    .describe('What comes before TLS'),
});

const driver = z
  .looseObject({
    type: z.string(),
    timeoutSeconds: z.number().int().min(1).max(600).default(30),
  })
  .superRefine(({ type, ...others }, context) => {
    const settings = Object.fromEntries(
      Object.entries(others).filter(([key]) => key !== 'timeoutSeconds'),
    );
    const schema = driverSettingsSchema(type);
    if (schema === undefined) {
      const known = driverTypes.map((each) => each.type).join(', ');
      context.addIssue({
        code: 'custom',
        path: ['type'],
        message: `there is no driver ${type}; known: ${known}`,
      });
      return;
    }
    for (const { path, message } of schema.safeParse(settings).error?.issues ?? [])
      context.addIssue({ code: 'custom', path: [...path], message });
  });

const seconds = (description: string, least: number, most: number) =>
  z.number().int().min(least).max(most).describe(`${description} (seconds)`);

/** One file target in the configuration of the agent. */
export const targetSchema = z
  .strictObject({
    name: z
      .string()
      .regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, 'write it in small letters, digits and "-"')
      .describe('Name of the target, unique on this agent'),
    directory: absolutePath('The directory of the target').optional(),
    spiffeId: z
      .string()
      .superRefine((text, context) => {
        const parsed = SpiffeId.parse(text);
        if (!parsed.ok) context.addIssue({ code: 'custom', message: parsed.error.message });
      })
      .optional()
      .describe('The identity, where entries give several'),
    keyType: z.enum(keyTypes).default('ec-p256').describe('Key type'),
    layout: z.enum(layoutNames).optional().describe('Names of the files'),
    links: z.boolean().optional().describe('Whether fixed paths lead into the current set'),
    files: z
      .partialRecord(z.enum(pemKinds), z.union([fileName, z.literal(false)]))
      .default({})
      .describe('Other names than those of the layout; false: the file is left out'),
    federatedFiles: z
      .record(z.string(), fileName)
      .superRefine((files, context) => {
        for (const name of Object.keys(files)) {
          const parsed = TrustDomain.parseName(name);
          if (!parsed.ok)
            context.addIssue({ code: 'custom', path: [name], message: parsed.error.message });
        }
      })
      .default({})
      .describe('Files with the roots of foreign trust domains, by the name of the trust domain'),
    pkcs12: keyStore('A key store (PKCS#12)').optional(),
    jks: keyStore('A key store of Java, made by keytool').optional(),
    owner: account('User of the files').optional(),
    group: account('Group of the files').optional(),
    mode: mode('Permissions of certificates').optional(),
    keyMode: mode('Permissions of files with the private key')
      .refine((text) => (Number.parseInt(text, 8) & 0o007) === 0, 'everybody could read the key')
      .optional(),
    directoryMode: mode('Permissions of the directories of sets')
      .refine(
        (text) => (Number.parseInt(text, 8) & 0o700) === 0o700,
        'the agent needs "7" for itself',
      )
      .default('0750'),
    driver: driver.optional().describe('How the server is told'),
    listeners: z.array(listener).max(64).default([]).describe('Where handshakes prove the set'),
    proof: z
      .strictObject({
        handshakes: z.number().int().min(1).max(1000).default(3),
        timeoutSeconds: seconds('Until the set goes back', 1, 3600).optional(),
      })
      .prefault({}),
    rollout: z
      .strictObject({
        group: z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/),
        canaryShare: z.number().min(0).max(1).default(0.1),
        observeSeconds: seconds('How long the first part is watched', 0, 604_800).default(300),
      })
      .optional(),
    promote: z.enum(['automatic', 'by hand']).default('automatic'),
    graceSeconds: seconds('How long the set before is kept', 0, 31_536_000).default(86_400),
    spiffeHelperConfig: absolutePath('A configuration file of spiffe-helper').optional(),
    signalledProgram: absolutePath('The program that pid_file_name of that file names').optional(),
  })
  .superRefine((target, context) => {
    for (const problem of problemsOf(target))
      context.addIssue({ code: 'custom', message: problem });
  });

export type TargetConfig = Readonly<z.output<typeof targetSchema>>;

/** Keys that a configuration of spiffe-helper takes the place of. */
const fromHelper = [
  ...(['directory', 'layout', 'links', 'mode', 'keyMode', 'driver'] as const),
  ...(['pkcs12', 'jks'] as const),
];

function* problemsOf(
  target: Omit<TargetConfig, 'listeners'> & { readonly files: object },
): Generator<string> {
  if (target.spiffeHelperConfig !== undefined) {
    for (const key of fromHelper)
      if (target[key] !== undefined)
        yield `${key} stands beside spiffeHelperConfig, which says it: remove one of them`;
    if (Object.keys(target.files).length > 0)
      yield 'files stands beside spiffeHelperConfig, which says it: remove one of them';
    return;
  }
  if (target.signalledProgram !== undefined)
    yield 'signalledProgram stands without spiffeHelperConfig';
  if (target.directory === undefined) yield 'directory is missing';
  if (target.driver === undefined)
    yield 'driver is missing; write { type: none } for a server that watches its files itself';
}
