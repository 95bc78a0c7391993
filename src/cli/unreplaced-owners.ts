import type { ListUnreplacedResponse__Output } from '../common/wire/generated/meshca/admin/v1/ListUnreplacedResponse.ts';
import { instant, printable, until } from './output.ts';

const maximumShown = 50;

/** Who has certificates that were not replaced, the owner with most of them first. */
export function unreplacedLines(
  { owners, ownersTotal, certificates, until: last }: ListUnreplacedResponse__Output,
  now: number,
): readonly string[] {
  if (certificates === 0) return ['nobody is cut off: every certificate is replaced or over'];
  const lines = owners.slice(0, maximumShown).map((owner) => {
    const name =
      owner.entryId !== ''
        ? `entry ${owner.entryId}`
        : owner.delegationId !== ''
          ? `delegation ${owner.delegationId} of ${owner.requester}`
          : owner.requester;
    return printable(
      `cut off: ${name}: ${owner.certificates} certificates, the last (${owner.subject}) ends ` +
        until(owner.until, now),
    );
  });
  const hidden = ownersTotal - lines.length;
  return [
    `${certificates} certificates of ${ownersTotal} owners are not replaced, the last ends ` +
      instant(last),
    ...lines,
    ...(hidden > 0 ? [`… and ${hidden} more owners`] : []),
  ];
}
