// A plugin of oxlint: the size rules of functions, for tests.
//
// `max-lines-per-function` can't be used there, since a `describe` or `test` callback is as long as what it tells.
// These rules leave such callbacks out, with all that stands in them, and count every other function without the lines
// of the callbacks inside it.

const runnerNames = new Set([
  'test',
  'it',
  'describe',
  'suite',
  'before',
  'after',
  'beforeEach',
  'afterEach',
]);
const functionTypes = ['FunctionDeclaration', 'FunctionExpression', 'ArrowFunctionExpression'];

/** The name at the end of a callee: `test`, `test.only` and `t.test` are all calls of the runner. */
function isRunner(callee) {
  if (callee.type === 'Identifier') return runnerNames.has(callee.name);
  if (callee.type !== 'MemberExpression' || callee.property.type !== 'Identifier') return false;
  return runnerNames.has(callee.property.name) || isRunner(callee.object);
}

const isRunnerCallback = (node) =>
  node.parent?.type === 'CallExpression' &&
  node.parent.callee !== node &&
  isRunner(node.parent.callee);

function nameOf(node) {
  if (node.id) return node.id.name;
  const { parent } = node;
  if (parent?.type === 'VariableDeclarator' && parent.id.type === 'Identifier')
    return parent.id.name;
  if (parent?.key?.type === 'Identifier' || parent?.key?.type === 'PrivateIdentifier')
    return parent.key.name;
  return 'this function';
}

const linesOf = (node) => node.loc.end.line - node.loc.start.line + 1;

/** Calls `judge(node, lines)` for every function outside of the runner's callbacks. */
function outsideCallbacks(judge) {
  const stack = [];
  let callbacks = 0;
  const enter = (node) => {
    if (isRunnerCallback(node)) callbacks += 1;
    stack.push({ node, told: 0 });
  };
  const leave = (node) => {
    const { told } = stack.pop();
    if (isRunnerCallback(node)) {
      callbacks -= 1;
      if (callbacks > 0) return;
      for (const outer of stack) outer.told += linesOf(node);
    } else if (callbacks === 0) judge(node, linesOf(node) - told);
  };
  return Object.fromEntries(
    functionTypes.flatMap((type) => [
      [type, enter],
      [`${type}:exit`, leave],
    ]),
  );
}

const schema = [
  {
    type: 'object',
    properties: { max: { type: 'integer', minimum: 1 } },
    required: ['max'],
    additionalProperties: false,
  },
];

const functionLines = {
  meta: { type: 'suggestion', schema },
  create(context) {
    const { max } = context.options[0];
    return outsideCallbacks((node, lines) => {
      if (lines > max)
        context.report({ node, message: `${nameOf(node)} has ${lines} lines; at most ${max}.` });
    });
  },
};

const functionParameters = {
  meta: { type: 'suggestion', schema },
  create(context) {
    const { max } = context.options[0];
    return outsideCallbacks((node) => {
      const { length } = node.params;
      if (length > max)
        context.report({
          node,
          message: `${nameOf(node)} has ${length} parameters; at most ${max}.`,
        });
    });
  },
};

export default {
  meta: { name: 'test-sizes' },
  rules: { 'function-lines': functionLines, 'function-parameters': functionParameters },
};
