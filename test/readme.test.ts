import assert from 'node:assert/strict'
import { accessSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { repositoryFile } from './support/child.ts'
import { fileName, runSection, sectionsOf } from './support/page.ts'

const readme = readFileSync(repositoryFile('README.md'), 'utf8')

test("the README's application, started and requested as shown, responds as shown", async () => {
  const section = sectionsOf('README.md').find(({ title }) => title === 'Two commands')!
  const [application] = sectionsOf('README.md').find(({ title }) => title === 'An application')!.blocks
  assert.equal(fileName(application!), 'app.ts')
  assert.ok(section.blocks.some(({ language }) => language === 'console'))
  await runSection({ title: section.title, blocks: [application!, ...section.blocks] })
})

test('the two commands of the README are scripts of the package', () => {
  const { scripts } = JSON.parse(readFileSync(repositoryFile('package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  for (const [, name] of readme.matchAll(/^npm ci && npm (?:run )?(\S+)/gm)) assert.ok(scripts[name!], `npm ${name}`)
})

test('the files that the README links to exist', () => {
  for (const [, path] of readme.matchAll(/\]\((?!https?:)([^)#]+)\)/g)) accessSync(repositoryFile(path!))
})
