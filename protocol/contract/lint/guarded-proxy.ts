/**
 * Replaces some members of an object by checked ones. It uses a Proxy instead of a new object, so that `instanceof` and
 * the members that Gantry uses beyond the contract (`readNow`) still work.
 */

type Members = { readonly [key: string | symbol]: unknown }

/**
 * Returns a proxy of `target`.
 *
 * @param members replace the members of the target
 * @param otherUsed is called with the name of every other existing member that is read
 */
export function guardedProxy<T extends object>(target: T, members: Members, otherUsed?: (name: string) => void): T {
  return new Proxy(target, {
    get(real, key) {
      if (isFixed(real, key)) return Reflect.get(real, key, real)
      if (Object.hasOwn(members, key)) return members[key]
      // The receiver is the real object, since accessors and methods use private fields.
      const value = Reflect.get(real, key, real)
      if (otherUsed && value !== undefined && typeof key === 'string' && !(key in Object.prototype)) otherUsed(key)
      return typeof value === 'function' ? value.bind(real) : value
    },
    set: (real, key, value) => Reflect.set(real, key, value, real),
  })
}

/**
 * A proxy must return the value of a frozen property unchanged (ECMA-262 §10.5.8), so such a property is not checked.
 */
function isFixed(real: object, key: string | symbol): boolean {
  const own = Object.getOwnPropertyDescriptor(real, key)
  return own !== undefined && !own.configurable && own.writable === false
}
