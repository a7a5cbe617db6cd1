/** Routing, targets, request fields. */

import { type Case, one } from '../shape.ts'

const missing = 404

export const requestCases: readonly Case[] = [
  one('The root is answered', { target: '/' }, 200),
  one('HEAD has the head of GET and no body', { method: 'HEAD', target: '/' }, 200),
  one('HEAD of JSON has its length', { method: 'HEAD', target: '/json' }, 200),
  one('JSON is answered with its type', { target: '/json' }, 200),
  one('What is not there is 404', { target: '/no/such/thing' }, missing),
  one('HEAD of what is not there is 404 without a body', { method: 'HEAD', target: '/no/such' }, missing),
  one('A POST of what is not there is 404', { method: 'POST', target: '/no/such', body: 'unread' }, missing),
  one(
    'OPTIONS of a route that has GET',
    { method: 'OPTIONS', target: '/only-get' },
    {
      Express: [200],
      Koa: [200],
      Fastify: [404],
      Hono: [404],
    },
  ),
  one(
    'DELETE of a route that has GET alone',
    { method: 'DELETE', target: '/only-get' },
    {
      Express: [404],
      Koa: [405],
      Fastify: [404],
      Hono: [404],
    },
  ),
  one('A route for any method, with PUT', { method: 'PUT', target: '/any' }, 200),
  one(
    'A route for any method, with PATCH',
    { method: 'PATCH', target: '/any', body: '{}', headers: [['Content-Type', 'application/json']] },
    200,
  ),
  one('A route for any method, with DELETE', { method: 'DELETE', target: '/any' }, 200),
  one('A route for any method, with OPTIONS', { method: 'OPTIONS', target: '/any' }, 200),
  one('One parameter', { target: '/users/42' }, 200),
  one('Two parameters', { target: '/users/42/posts/7' }, 200),
  one('A parameter with an encoded space and slash', { target: '/users/a%20b%2Fc' }, 200),
  one('A parameter in UTF-8', { target: '/users/%C3%A9%E2%82%AC' }, 200),
  one('A parameter with reserved characters', { target: "/users/a;b=c,d@e:f!$&'()*+" }, 200),
  one('A parameter whose escape is no UTF-8', { target: '/users/%FF' }, {}),
  one('A query', { target: '/query?a=1&b=two' }, 200),
  one('A query with a repeated name', { target: '/query?a=1&a=2&b=' }, 200),
  one('A query with escapes and plus signs', { target: '/query?q=a%20b+c%26d&%C3%A9=%E2%82%AC' }, 200),
  one('A query with brackets', { target: '/query?a[b]=1&c[]=2&c[]=3' }, 200),
  one('A query of nothing', { target: '/query?' }, 200),
  one('A query with an invalid escape', { target: '/query?a=%ZZ' }, 200),
  one('A wildcard', { target: '/wild/a/b/c.txt' }, 200),
  one('A trailing slash', { target: '/json/' }, {}),
  one('Another case', { target: '/JSON' }, {}),
  one('A doubled slash', { target: '/users//42' }, {}),
  one('Dot segments', { target: '/users/../json' }, {}),
  one('A target of 6 KiB', { target: `/query?long=${'x'.repeat(6000)}` }, 200),
  one('What the request says of itself', { target: '/facts?a=b' }, 200),
  one('Another Host with a port', { target: '/facts', headers: [['Host', 'example.org:8080']] }, 200),
  one('X-Requested-With', { target: '/facts', headers: [['X-Requested-With', 'XMLHttpRequest']] }, 200),
  one(
    'Request fields',
    {
      target: '/headers/echo',
      headers: [
        ['User-Agent', 'test'],
        ['Accept', 'text/html, */*;q=0.1'],
        ['X-Mixed-Case', 'Value'],
        ['X-Empty', ''],
      ],
    },
    200,
  ),
  one(
    'A request field with an underscore',
    {
      target: '/headers/echo',
      headers: [
        ['X_Under', '1'],
        ['X-Over', '2'],
      ],
    },
    200,
  ),
  one('The names of all request fields', { target: '/headers/all' }, 200),
  one(
    'Repeated request fields',
    {
      target: '/headers/echo',
      headers: [
        ['X-Two', 'a'],
        ['X-Two', 'b'],
        ['Cookie', 'a=1'],
        ['Cookie', 'b=2'],
        ['Accept', 'text/a'],
        ['Accept', 'text/b'],
      ],
    },
    200,
  ),
  one('A large request field', { target: '/headers/echo', headers: [['X-Large', 'y'.repeat(8000)]] }, 200),
  one(
    'Ninety request fields',
    {
      target: '/headers/echo',
      headers: Array.from({ length: 90 }, (_, at) => [`X-Field-${at}`, `${at}`]),
    },
    200,
  ),
  one('A request field in Latin-1', { target: '/headers/echo', headers: [['X-Latin', 'caf\xe9']] }, 200),
]
