import type { Command, Help, Option } from 'commander';

/** The commands of the program by purpose. A test compares this with the program. */
export const groups: Readonly<Record<string, readonly string[]>> = {
  'Run and check:': ['server', 'agent', 'status', 'healthcheck', 'validate', 'doctor', 'explain'],
  'Identities:': [
    'entry',
    'token',
    'delegation',
    'mint',
    'issue',
    'give-back',
    'downstream',
    'certificate',
    'key',
    'set',
  ],
  'Authorities and trust:': ['authority', 'bundle', 'ceremony', 'federation'],
  'Administration:': ['role', 'tenant', 'acme', 'policy', 'approval', 'dual-control', 'audit'],
  'Keep and restore:': ['backup', 'restore'],
  'Shell:': ['completion', 'help'],
};

/** Examples by command. A test parses each. */
export const examples: Readonly<Record<string, readonly string[]>> = {
  'meshca agent ban': ['meshca agent ban node-1 --reason "disk was stolen"'],
  'meshca agent list': ['meshca agent list --state banned'],
  'meshca approval sign': ['meshca approval sign 4f2a91c07d3e --ssh-key ~/.ssh/id_ed25519'],
  'meshca audit list': [
    'meshca audit list --acts --since 1d',
    "meshca audit list --kind 'entry.*' --not-kind entry.updated",
  ],
  'meshca audit search': ['meshca audit search --identity spiffe://mesh.example.org/web'],
  'meshca audit verify': ['meshca audit verify audit.jsonl --key log.pub --since checkpoints.log'],
  'meshca authority rotate': [
    'meshca authority rotate --kind issuing',
    'meshca authority rotate --kind issuing --canary 10%,50%',
  ],
  'meshca federation create': [
    'meshca federation create partner.example.org --profile https_web --url https://spiffe.partner.example.org/',
    'meshca federation create partner.example.org --profile https_spiffe --url https://ca.partner.example.org:8445/ --endpoint-id spiffe://partner.example.org/meshca/server --bundle partner.json',
  ],
  'meshca policy activate': ['meshca policy activate policy.yaml --reason "no RSA any more"'],
  'meshca policy diff': ['meshca policy diff in-force policy.yaml', 'meshca policy diff 3 4'],
  'meshca policy explain': [
    'meshca policy explain 018f3c2b7a914d6ea1f0c3d2b5a69788',
    'meshca policy explain --request request.yaml --policy policy.yaml',
  ],
  'meshca policy replay': [
    'meshca policy replay policy.yaml --since 7d',
    'meshca policy replay policy.yaml --from 2026-11-01 --export audit.jsonl',
  ],
  'meshca policy test': ['meshca policy test policy.yaml --cases cases.yaml'],
  'meshca acme key create': [
    'meshca acme key create shop --dns-pattern "*.shop.internal" --quota 100/24h --for certbot',
  ],
  'meshca acme order list': ['meshca acme order list --tenant shop --status invalid'],
  'meshca tenant create': [
    'meshca tenant create shop --dns-suffix shop.internal --spiffe-prefix spiffe://mesh.example.org/shop/ --quota 1000/24h --dry-run',
  ],
  'meshca tenant end': ['meshca tenant end shop --revoke --dry-run'],
  'meshca certificate issue': [
    'meshca certificate issue --csr www.csr --name www.shop.internal --out www.pem --roots names-roots.pem',
  ],
  'meshca certificate list': [
    'meshca certificate list --live --expires-within 1h',
    'meshca certificate list --suffix shop.internal --profile classic',
  ],
  'meshca doctor': ['meshca doctor server.yaml', 'meshca doctor agent.yaml --agent'],
  'meshca entry apply': [
    'meshca entry apply -f entries.yaml --dry-run',
    'meshca entry apply -f entries.yaml --prune',
  ],
  'meshca entry create': [
    'meshca entry create --spiffe-id spiffe://mesh.example.org/web --parent-id ' +
      'spiffe://mesh.example.org/meshca/agent/node-1 --selector unix:user:www-data',
  ],
  'meshca explain': ['meshca explain --pid 4711', 'meshca explain --target web'],
  'meshca give-back': ['meshca give-back svid'],
  'meshca issue': [
    'meshca issue --oidc --server ca.example.org:8443 --trust-domain mesh.example.org --bundle roots.pem --out svid',
    'meshca issue --oidc --token-env MESHCA_ID_TOKEN --server ca.example.org:8443 ' +
      '--trust-domain mesh.example.org --bundle roots.pem',
  ],
  'meshca mint': [
    'meshca mint --admin --spiffe-id spiffe://mesh.example.org/ops/alice --write alice',
  ],
  'meshca role set': [
    'meshca role set readers --verb "*.read" --prefix spiffe://mesh.example.org/ --member ' +
      'spiffe://mesh.example.org/ops/alice',
  ],
  'meshca set list': ['meshca set list --group edge', 'meshca set list --local'],
  'meshca set promote': [
    'meshca set promote web --agent node-1 --reason "change 4711"',
    'meshca set promote --group edge',
  ],
  'meshca token create': ['meshca token create --agent-name node-1'],
  'meshca token explain': ['meshca token explain --token-file token.jwt'],
  'meshca validate': ['meshca validate server.yaml --check', 'meshca validate --schema agent'],
};

/** Marks required options in their description and in the usage. */
export const helpStyle: Partial<Help> = {
  showGlobalOptions: true,
  optionDescription(option: Option): string {
    const extra = [
      ...(option.mandatory ? ['required'] : []),
      ...(option.defaultValue !== undefined && option.defaultValue !== '' && !option.negate
        ? [`default: ${String(option.defaultValue)}`]
        : []),
    ];
    return extra.length === 0 ? option.description : `${option.description} (${extra.join('; ')})`;
  },
  commandUsage(command: Command): string {
    const names: string[] = [];
    for (let part: Command | null = command; part !== null; part = part.parent)
      names.unshift(part.name());
    const required = command.options.filter(({ mandatory }) => mandatory);
    return [
      ...names,
      ...required.map(({ flags }) => flags.replace(/^-[a-z], /, '')),
      command.usage(),
    ].join(' ');
  },
};

/** Examples below the help of a command; groups of the program's commands. */
export function addHelp(command: Command, path: string): void {
  const lines = examples[path];
  if (lines !== undefined)
    command.addHelpText('after', `\nExamples:\n${lines.map((line) => `  ${line}\n`).join('')}`);
  if (command.parent !== null && command.parent.parent === null) {
    const group = Object.entries(groups).find(([, names]) => names.includes(command.name()))?.[0];
    if (group !== undefined) command.helpGroup(group);
  }
}
