import type { CreateRelationshipRequest__Output } from '../../common/wire/generated/meshca/admin/v1/CreateRelationshipRequest.ts';
import { parseForeignDocument, rootSha256, type ReadDocument } from '../../domain/index.ts';

/** What approvers compare with what the operators of the foreign trust domain have handed over. */
export function relationshipPreview({
  trustDomain,
  endpointUrl,
  endpointProfile,
  endpointSpiffeId,
  webRootsDer,
  bundleDocument,
}: CreateRelationshipRequest__Output): readonly string[] {
  const document = parseForeignDocument(bundleDocument);
  return [
    `Workloads of entries that name ${trustDomain} will trust every SVID of that trust domain.`,
    `Its bundle comes from ${endpointUrl}, profile ${endpointProfile}` +
      (endpointSpiffeId === '' ? '.' : `, from ${endpointSpiffeId} alone.`),
    ...webRootsDer.map(
      (der) => `CA of the endpoint: SHA-256 ${rootSha256(der.toString('base64'))}`,
    ),
    ...(bundleDocument.length === 0
      ? ['No bundle comes with it: the first one is that of the endpoint.']
      : document.ok
        ? bundleLines(document.value)
        : [`The bundle that comes with it is refused: ${document.error.message}`]),
  ];
}

const bundleLines = ({ roots, jwtKeys, leftOut }: ReadDocument): readonly string[] => [
  ...roots.map((root) => `Root in the bundle: SHA-256 ${rootSha256(root)}`),
  ...jwtKeys.map(
    ({ keyId, spki }) =>
      `JWT key in the bundle: ${JSON.stringify(keyId)}, SHA-256 ${rootSha256(spki)}`,
  ),
  ...(leftOut.length > 0
    ? [`Roots that are left out, as nobody here can use them: ${leftOut.length}`]
    : []),
];
