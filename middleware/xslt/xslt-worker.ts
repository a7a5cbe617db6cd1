/**
 * The thread that applies stylesheets (`xslt-engine.ts` starts it): the library computes without pauses, and would
 * block the event loop for all other requests. The thread can reach neither files nor the network.
 */

import { parentPort, workerData } from 'node:worker_threads'
import { XmlParser, Xslt } from 'xslt-processor'
import { type Output, serialize, type TreeNode } from './xml-serialize.ts'
import { checkWellFormed } from './xml-text.ts'

/** A message to the thread. */
export interface Job {
  readonly id: number
  readonly xml: string
  readonly parameters: readonly { name: string; value: string | number | boolean }[]
}

/** A message from the thread. */
export type Done = { readonly id: number; readonly text: string } | { readonly id: number; readonly error: string }

const { stylesheet, output } = workerData as { stylesheet: string; output: Output }

function denied(): never {
  throw new Error('a stylesheet has no access to files and the network')
}
globalThis.fetch = denied
// Drops the output of xsl:message: the library prints it, but standard output belongs to the process's log.
for (const method of ['log', 'info', 'warn', 'error', 'debug'] as const) console[method] = () => {}

parentPort!.on('message', async ({ id, xml, parameters }: Job) => {
  let done: Done
  try {
    // The library (5.1) accepts truncated and wrongly nested documents, drops the text of CDATA sections, reads
    // comments as "undefined", loses characters beyond U+FFFF, and does not escape text when it writes. So the document
    // is checked here, and `serialize` writes the tree.
    const checked = checkWellFormed(xml)
    // New objects for each document: the library keeps counters, matches and stripped nodes in them.
    const parser = new XmlParser()
    const xslt = new Xslt({ parameters: [...parameters], fetchFunction: denied, documentLoader: () => null } as never)
    const tree = await xslt.xsltProcessToDocument(parser.xmlParse(checked), parser.xmlParse(stylesheet))
    done = { id, text: serialize(tree as unknown as TreeNode, output) }
  } catch (error) {
    done = { id, error: error instanceof Error ? `${error.name}: ${error.message}` : String(error) }
  }
  parentPort!.postMessage(done)
})
