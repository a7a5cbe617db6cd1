/**
 * A real object with some of its members watched. Proxies rather than look-alikes, so that what Gantry's own parts find there
 * beyond the contract (`readNow`, `instanceof`) stays true.
 */

type Members = { readonly [key: string | symbol]: unknown }

/**
 * @param members take the place of the target's own
 * @param asked told of every other member that the target has and somebody asks for by name
 */
export function glass<T extends object>(target: T, members: Members, asked?: (name: string) => void): T {
  return new Proxy(target, {
    get(real, key) {
      if (isFixed(real, key)) return Reflect.get(real, key, real)
      if (Object.hasOwn(members, key)) return members[key]
      // With the real one as receiver: accessors and methods use private fields.
      const value = Reflect.get(real, key, real)
      if (asked && value !== undefined && typeof key === 'string' && !(key in Object.prototype)) asked(key)
      return typeof value === 'function' ? value.bind(real) : value
    },
    set: (real, key, value) => Reflect.set(real, key, value, real),
  })
}

/** A proxy has to give such a property as it is (ECMA-262 §10.5.8): somebody froze the real one, and it goes unwatched. */
function isFixed(real: object, key: string | symbol): boolean {
  const own = Object.getOwnPropertyDescriptor(real, key)
  return own !== undefined && !own.configurable && own.writable === false
}
