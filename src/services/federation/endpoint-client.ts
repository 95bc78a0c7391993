import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { getCACertificates, type PeerCertificate, type SecureContextOptions } from 'node:tls';
import { PkiError } from '../../common/errors/index.ts';
import { chainOf, type Clock } from '../../common/runtime/index.ts';
import { certificatesToPem, verifyX509Svid } from '../../common/x509/index.ts';
import {
  endpointUrl,
  maximumDocumentBytes,
  type FederationRelationship,
} from '../../domain/index.ts';

export interface EndpointRequest {
  readonly relationship: Pick<
    FederationRelationship,
    'endpointUrl' | 'endpointProfile' | 'endpointSpiffeId' | 'webRoots'
  >;
  /** https_spiffe: the roots of the trust domain of the endpoint's SPIFFE ID, DER. */
  readonly rootsDer: readonly Buffer[];
  readonly signal?: AbortSignal;
}

/**
 * Fetches a bundle document from a bundle endpoint, by its profile (SPIFFE Federation, section 5.2).
 * Redirects keep profile and SPIFFE ID.
 *
 * @throws PkiError FEDERATION_ENDPOINT_UNTRUSTED, FEDERATION_ENDPOINT_FAILED
 */
export type EndpointClient = (request: EndpointRequest) => Promise<Buffer>;

const maximumRedirects = 3;

export const endpointClient =
  ({ clock, timeoutMs }: { readonly clock: Clock; readonly timeoutMs: number }): EndpointClient =>
  async (request) => {
    const { relationship, signal } = request;
    const ended = new AbortController();
    const cancel = clock.after(timeoutMs, () => ended.abort());
    const signals = [ended.signal, ...(signal === undefined ? [] : [signal])];
    try {
      const trust = trustOf(request, clock);
      let url = new URL(relationship.endpointUrl);
      for (let redirects = 0; ; redirects += 1) {
        const answer = await get(url, trust, AbortSignal.any(signals));
        if ('document' in answer) return answer.document;
        if (redirects === maximumRedirects)
          throw failed(`${url.host} redirects more than ${maximumRedirects} times`);
        url = new URL(redirectUrl(answer.location, url));
      }
    } catch (thrown) {
      if (ended.signal.aborted)
        throw failed(`the endpoint gives no whole answer in ${timeoutMs / 1000} s`);
      throw thrown instanceof PkiError ? thrown : failedBy(thrown as NodeJS.ErrnoException);
    } finally {
      cancel();
    }
  };

interface EndpointTrust extends SecureContextOptions {
  readonly checkServerIdentity?: (host: string, leaf: PeerCertificate) => Error | undefined;
}

function trustOf({ relationship, rootsDer }: EndpointRequest, clock: Clock): EndpointTrust {
  if (relationship.endpointProfile === 'https_web') {
    const { webRoots } = relationship;
    return {
      ca:
        webRoots.length === 0
          ? getCACertificates('system')
          : certificatesToPem(webRoots.map((root) => Buffer.from(root, 'base64'))),
    };
  }
  const { endpointSpiffeId } = relationship;
  if (rootsDer.length === 0)
    throw untrusted(`there is no bundle of the trust domain of ${endpointSpiffeId}`);
  return {
    ca: rootsDer.map((root) => certificatesToPem([root])),
    // a bundle may state an anchor that is not self-signed
    allowPartialTrustChain: true,
    // in the place of the host name: the exact SPIFFE ID, under the rules for X.509-SVIDs
    checkServerIdentity: (_host, leaf) => {
      const verified = verifyX509Svid({
        chainDer: chainOf(leaf),
        bundle: () => rootsDer,
        now: clock.now(),
        purpose: 'server',
      });
      if (!verified.ok) return untrusted(`the server: ${verified.error.message}`);
      const id = verified.value.id.toString();
      return id === endpointSpiffeId
        ? undefined
        : untrusted(`the server is ${id}, and not ${endpointSpiffeId}`);
    },
  };
}

type Answer = { readonly document: Buffer } | { readonly location: string };

function get(url: URL, trust: EndpointTrust, signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let isAnswered = false;
    const onResponse = (response: IncomingMessage): void => {
      isAnswered = true;
      answerOf(url, response).then(resolve, (error: unknown) => {
        sent.destroy();
        reject(error as Error);
      });
    };
    const sent = httpsRequest(
      url,
      {
        ...trust,
        // a connection of its own: nothing is resumed, so that each server is verified
        agent: false,
        // also where the environment turns verification off for all of Node
        rejectUnauthorized: true,
        minVersion: 'TLSv1.2',
        signal,
        headers: { accept: 'application/json' },
      },
      onResponse,
    );
    sent.on('error', reject);
    // Node tells nobody else of an answer that changes the protocol (101)
    sent.on('close', () => {
      if (!isAnswered) reject(failed(`${url.host} ends the connection without an answer`));
    });
    sent.end();
  });
}

async function answerOf(url: URL, response: IncomingMessage): Promise<Answer> {
  const { statusCode = 0, headers } = response;
  if (statusCode >= 300 && statusCode < 400) {
    response.destroy();
    if (headers.location === undefined)
      throw failed(`${url.host} answers with status ${statusCode} and no place to go to`);
    return { location: headers.location };
  }
  if (statusCode !== 200) throw failed(`${url.host} answers with status ${statusCode}`);
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maximumDocumentBytes)
      throw failed(`${url.host} answers with more than ${maximumDocumentBytes} bytes`);
    chunks.push(chunk);
  }
  return { document: Buffer.concat(chunks) };
}

function redirectUrl(location: string, from: URL): string {
  const target = URL.canParse(location, from.href) ? new URL(location, from.href).href : location;
  try {
    return endpointUrl(target);
  } catch (thrown) {
    throw failed(`${from.host} redirects to a URL that is not taken: ${(thrown as Error).message}`);
  }
}

/** Codes of Node and OpenSSL that say that the certificate of a server is not the one. */
const certificateCode =
  /CERT|ISSUER|SIGNATURE|SELF_SIGNED|PURPOSE|PATH_LENGTH|HOSTNAME|INVALID_CA|^UNSPECIFIED$/;

function failedBy(error: NodeJS.ErrnoException): PkiError {
  const text = `${error.message}${error.code === undefined ? '' : ` (${error.code})`}`;
  return certificateCode.test(error.code ?? '') ? untrusted(text, error) : failed(text, error);
}

const untrusted = (message: string, cause?: Error): PkiError =>
  new PkiError('FEDERATION_ENDPOINT_UNTRUSTED', message, cause === undefined ? {} : { cause });
const failed = (message: string, cause?: Error): PkiError =>
  new PkiError('FEDERATION_ENDPOINT_FAILED', message, cause === undefined ? {} : { cause });
