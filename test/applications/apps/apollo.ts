/** Apollo Server, listening by itself and inside Express. */

import { type Case, json, multipart, one, type Start, type TestedApplication } from '../shape.ts'

const SCHEMA = `
const typeDefs = \`
  type Book { title: String! author: String }
  type Query { books: [Book!]! slow: String! fails: String }
  type Mutation { add(title: String!): Book! }
\`
const books = [{ title: 'One', author: 'A' }]
const resolvers = {
  Query: {
    books: () => books,
    slow: () => new Promise((resolve) => setTimeout(resolve, 1000, 'slow')),
    fails: () => { throw new Error('a resolver fails') },
  },
  Mutation: { add: (_, { title }) => { const book = { title, author: null }; books.push(book); return book } },
}
`

function cases(path: string): readonly Case[] {
  const ask = (title: string, status: number, query: string): Case => ({
    title,
    status: [status],
    requests: [json(path, { query })],
  })
  const get = (query: string): string => `${path}?query=${encodeURIComponent(query)}`
  return [
    ask('A query', 200, '{ books { title author } }'),
    ask('A mutation', 200, 'mutation { add(title: "Two") { title } }'),
    ask('A query of what is not there', 400, '{ nothing }'),
    ask('A resolver that fails', 200, '{ fails }'),
    one('A query by GET', 200, get('{ books { title } }'), { headers: [['apollo-require-preflight', 'true']] }),
    one('A GET that another site could send', 400, get('{ books { title } }'), {
      headers: [['Content-Type', 'text/plain']],
    }),
    one('HEAD', 400, path, { method: 'HEAD' }),
    // The nonce, and therefore the ETag, differs each time.
    { ...one('The page for a browser', 200, path, { headers: [['Accept', 'text/html']] }), except: ['etag'] },
    {
      title: 'An upload that it refuses',
      status: [400],
      requests: [multipart(path, { a: 'b' }, [['apollo-require-preflight', 'true']])],
    },
    { title: 'A body that is no JSON', status: [400], requests: [{ ...json(path, 0), body: '{' }] },
  ]
}

const varying: Start['varying'] = [
  [/nonce[-=]"?[\w+/=-]+/g, 'NONCE'],
  [/at .*\n?/g, 'FRAME'],
]
const slow = json('/', { query: '{ slow }' })

export const apollo: TestedApplication = {
  name: 'Apollo Server',
  packages: { '@apollo/server': '5.5.1', '@as-integrations/express5': '1.1.2', express: '5.3.0', graphql: '16.12.0' },
  files: {
    'standalone.mjs': `
import { ApolloServer } from '@apollo/server'
import { startStandaloneServer } from '@apollo/server/standalone'
${SCHEMA}
const server = new ApolloServer({ typeDefs, resolvers, csrfPrevention: true, includeStacktraceInErrorResponses: false })
await startStandaloneServer(server, { listen: { port: Number(process.env.PORT), host: process.env.HOST } })
`,
    'express.mjs': `
import http from 'node:http'
import express from 'express'
import { ApolloServer } from '@apollo/server'
import { expressMiddleware } from '@as-integrations/express5'
import { ApolloServerPluginDrainHttpServer } from '@apollo/server/plugin/drainHttpServer'
${SCHEMA}
const app = express()
const httpServer = http.createServer(app)
const server = new ApolloServer({
  typeDefs, resolvers, includeStacktraceInErrorResponses: false,
  plugins: [ApolloServerPluginDrainHttpServer({ httpServer })],
})
await server.start()
app.get('/', (req, res) => res.send('home'))
app.get('/slow', async (req, res) => {
  res.write('slow\\n')
  setTimeout(() => res.end('done'), 1000)
})
app.use('/graphql', express.json(), expressMiddleware(server))
httpServer.listen(process.env.PORT, process.env.HOST)
`,
  },
  starts: [
    { title: 'standalone', module: 'standalone.mjs', ready: '/', cases: cases('/'), varying, slow },
    { title: 'in Express', module: 'express.mjs', ready: '/', cases: cases('/graphql'), varying, slow: '/slow' },
  ],
}
