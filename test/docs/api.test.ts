/**
 * docs/api/ holds what the generator makes of the sources; the generator itself is tested on declarations written here.
 */

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { type ApiReference, apiReference, renderReference } from '../../scripts/api-reference.ts'
import { repositoryFile } from '../support/child.ts'
import { withDirectory } from '../support/directory.ts'
import { write } from '../support/page.ts'
import { anchorsOf } from './anchors.ts'

describe('docs/api/', () => {
  const reference = apiReference()

  test('holds what the sources and their docblocks say', () => {
    assert.deepEqual(readdirSync(repositoryFile('docs/api')).sort(), [...reference.pages.keys()].sort())
    for (const [name, page] of reference.pages)
      assert.equal(readFileSync(repositoryFile(`docs/api/${name}`), 'utf8'), page, `docs/api/${name}: run npm run docs`)
  })

  test('describes every exported name', () => {
    assert.deepEqual(reference.undocumented, [], 'exported names without a docblock')
  })

  test('has the heading that each of its links points to', () => {
    for (const [name, page] of reference.pages) {
      for (const [, file, anchor] of page.matchAll(/\]\(((?!\.\.)[\w.]*)#([\w-]+)\)/g)) {
        const target = reference.pages.get(file === '' ? name : file!)
        assert.ok(target !== undefined && anchorsOf(target).has(anchor!), `${name}: ${file}#${anchor}`)
      }
    }
  })
})

/** The reference of a package with one entry, `index.ts`, of the given sources and declarations. */
async function referenceOf(files: Readonly<Record<string, string>>): Promise<ApiReference> {
  let reference: ApiReference | undefined
  await withDirectory(async (directory) => {
    const exports = { '.': { types: './dist/index.d.ts' }, './package.json': './package.json' }
    write(directory, 'package.json', JSON.stringify({ exports }))
    write(directory, 'index.ts', '/** An entry. */\n\nexport {}\n')
    for (const [name, text] of Object.entries(files)) {
      write(directory, `dist/${name.replace('.ts', '.d.ts')}`, text)
      if (name !== 'index.ts') write(directory, name, `/** The file. */\n\n${text}`)
    }
    reference = renderReference(directory, `${directory}/dist`)
  })
  return reference!
}

async function pageOf(declarations: string): Promise<string> {
  const { pages } = await referenceOf({ 'index.ts': "export * from './a.ts';", 'a.ts': declarations })
  return pages.get('gantry.md')!
}

describe('the API reference', () => {
  test('shows a function with its parameters, errors and example', async () => {
    const page = await pageOf(`/**
 * Waits for
 * a \`Promise<void>\` in an Array<T>.
 *
 * @param ms in milliseconds,
 *   at least 1
 * @throws RangeError if \`ms\` is 0
 * @example
 * if (late) {
 *   await wait(5)
 * }
 */
export declare function wait(ms: number, options?: {
    unref: boolean;
}): Promise<void>;
`)
    assert.equal(
      page.slice(page.indexOf('## `wait`')),
      `## \`wait\`

function in [\`a.ts\`](../../a.ts)

\`\`\`ts
function wait(ms: number, options?: {
  unref: boolean;
}): Promise<void>
\`\`\`

Waits for a \`Promise<void>\` in an Array&lt;T>.

- \`ms\`: in milliseconds, at least 1
- Throws \`RangeError\` if \`ms\` is 0

Example:

\`\`\`ts
if (late) {
  await wait(5)
}
\`\`\`
`,
    )
  })

  test('lists the members of a class, and neither private nor internal ones', async () => {
    const page = await pageOf(`/** A clock. */
export declare class Clock<T extends {
    a: 1;
}> implements Base {
    #private;
    private hidden;
    /** ms */
    readonly now: number;
    /** @internal */
    tick(): void;
    constructor(start: number);
    /**
     * Stops it.
     *
     * @returns ms since the start
     */
    stop(): number;
    get text(): ';' | '}' | \`\${string}/*\`;
}
`)
    assert.equal(
      page.slice(page.indexOf('Members:')),
      `Members:

- \`readonly now: number\`: ms
- \`new Clock(start: number)\`
- \`stop(): number\`: Stops it.
  - Returns: ms since the start
- \`\` get text(): ';' | '}' | \`\${string}/*\` \`\`
`,
    )
  })

  test('shows every overload of a function once', async () => {
    const page = await pageOf(`/** Of a number. */
export declare function a(value: number): void;
/** Of a text. */
export declare function a(value: string): void;
`)
    assert.equal(page.match(/^## `a`$/gm)?.length, 1)
    assert.match(page, /a\(value: number\).*Of a number\..*a\(value: string\).*Of a text\./s)
  })

  test('finds a name through imports, renaming and other files', async () => {
    const { pages } = await referenceOf({
      'index.ts': `import { B as C } from './a.ts';\nexport { C as D };\nexport { e as f, type A } from './a.ts';`,
      'a.ts': `export { B } from './b.ts';\nexport type * from './b.ts';\ndeclare const e = 1;\nexport { e };`,
      'b.ts': '/** Of b. */\nexport interface B {\n}\n/** An alias. */\nexport type A = B;',
    })
    const sections = [...pages.get('gantry.md')!.matchAll(/^## `(\w+)`\n\n(.*)$/gm)].map(([, name, where]) => [
      name,
      where,
    ])
    assert.deepEqual(sections, [
      ['D', 'interface in [`b.ts`](../../b.ts)'],
      ['f', 'constant in [`a.ts`](../../a.ts)'],
      ['A', 'type in [`b.ts`](../../b.ts)'],
    ])
  })

  test('numbers the links to names that differ only in case', async () => {
    const page = await pageOf(
      '/** A. */\nexport interface Cache {\n}\n/** B. */\nexport declare function cache(): Cache;',
    )
    assert.match(page, /\[`Cache`\]\(#cache\)|\[`cache`\]\(#cache\)/)
    assert.match(page, /#cache-1\)/)
  })

  test('links a function to the exported types of its signature, and to no others', async () => {
    const page = await pageOf(
      '/** A. */\nexport declare function a(b: Bee, c: Cee | string): Promise<Bee>;\n/** B. */\nexport type Bee = 1;\ntype Cee = 2;',
    )
    assert.match(page, /^A\.\n\nTypes: \[`Bee`\]\(#bee\)$/m)
  })

  test('leaves the type of a long table out', async () => {
    const members = Array.from({ length: 30 }, (_, at) => `    a${at}: number;\n`).join('')
    const page = await pageOf(`/** A table. */\nexport declare const table: {\n${members}};`)
    assert.match(page, /^const table: \{ … \}$/m)
  })

  test('reports an exported name without a docblock, and takes no header of a file for one', async () => {
    const { undocumented } = await referenceOf({
      'index.ts': "export * from './a.ts';\nexport * from './b.ts';",
      'a.ts': '/** The file. */\nexport interface Bare {\n}\n/** Documented. */\nexport type Full = Bare;',
      'b.ts': '/** The file. */\n/** Documented. */\nexport interface Second {\n}\nexport declare const bare: number;',
    })
    assert.deepEqual(undocumented, ['a.ts: Bare', 'b.ts: bare'])
  })

  test('refuses a form of export that it cannot show', async () => {
    await assert.rejects(
      referenceOf({ 'index.ts': 'export default 1;' }),
      /^Error: index\.ts: unknown form of export: export default 1$/,
    )
    await assert.rejects(
      referenceOf({ 'index.ts': "export { Absent } from './a.ts';", 'a.ts': 'export type A = 1;' }),
      /^Error: a\.ts does not declare Absent$/,
    )
  })
})
