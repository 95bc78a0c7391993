import { isIP } from 'node:net';
import { offeredFirst, groups, type KeyShare } from './groups.ts';
import {
  extensionType,
  handshakeType,
  suites12,
  suites13,
  version12,
  version13,
} from './numbers.ts';
import { signatureSchemes } from './signature.ts';
import { uint, uints16, vector } from './wire.ts';

export interface HelloInput {
  readonly random: Buffer;
  /** 32 octets, for middle boxes (RFC 8446 appendix D.4). */
  readonly sessionId: Buffer;
  readonly serverName: string | undefined;
  readonly applicationProtocols: readonly string[];
  readonly keyShares: readonly KeyShare[];
  /** From a HelloRetryRequest. */
  readonly cookie: Buffer | undefined;
}

/** What a ServerHello or EncryptedExtensions may answer to. */
export const askedExtensions: ReadonlySet<number> = new Set(Object.values(extensionType));

export const firstShares = offeredFirst;

/**
 * A ClientHello for TLS 1.3 and 1.2 (RFC 8446 section 4.1.2). It asks for no resumption, no staple
 * and no early data, so that each handshake is a full one.
 */
export function clientHello(input: HelloInput): Buffer {
  const extensions = [
    ...serverName(input.serverName),
    extension(extensionType.ecPointFormats, vector(1, Buffer.of(0))),
    extension(extensionType.supportedGroups, vector(2, uints16(groups))),
    extension(extensionType.signatureAlgorithms, vector(2, uints16(signatureSchemes))),
    ...protocols(input.applicationProtocols),
    extension(extensionType.extendedMasterSecret, Buffer.alloc(0)),
    extension(extensionType.renegotiationInfo, vector(1)),
    extension(extensionType.supportedVersions, vector(1, uints16([version13, version12]))),
    ...(input.cookie === undefined
      ? []
      : [extension(extensionType.cookie, vector(2, input.cookie))]),
    extension(extensionType.keyShare, vector(2, ...input.keyShares.map(shareEntry))),
  ];
  const body = Buffer.concat([
    uint(2, version12),
    input.random,
    vector(1, input.sessionId),
    vector(2, uints16([...suites13.keys(), ...suites12])),
    vector(1, Buffer.of(0)),
    vector(2, ...extensions),
  ]);
  return Buffer.concat([Buffer.of(handshakeType.clientHello), vector(3, body)]);
}

const extension = (type: number, content: Buffer): Buffer =>
  Buffer.concat([uint(2, type), vector(2, content)]);

const shareEntry = ({ group, publicKey }: KeyShare): Buffer =>
  Buffer.concat([uint(2, group), vector(2, publicKey)]);

/** RFC 6066 section 3: an IP address is no server name. */
const serverName = (name: string | undefined): readonly Buffer[] =>
  name === undefined || isIP(name) !== 0
    ? []
    : [
        extension(
          extensionType.serverName,
          vector(2, Buffer.concat([Buffer.of(0), vector(2, Buffer.from(name, 'latin1'))])),
        ),
      ];

const protocols = (names: readonly string[]): readonly Buffer[] =>
  names.length === 0
    ? []
    : [
        extension(
          extensionType.alpn,
          vector(2, ...names.map((name) => vector(1, Buffer.from(name, 'latin1')))),
        ),
      ];
