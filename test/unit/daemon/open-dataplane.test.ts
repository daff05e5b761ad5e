import { expect, test } from "bun:test";
import { MeshError } from "../../../src/base/errors.ts";
import { explained, type Surroundings } from "../../../src/daemon/open-dataplane.ts";

const root: Surroundings = {
  capabilities: 0x1ffffffffffn,
  tunDevice: "usable",
  uapiDirectoryWritable: true,
};
const netAdminOnly = 1n << 12n;
const config = { interfaceName: "t0", uapi: true, listenPort: 51820 };

function why(code: string, around: Partial<Surroundings>, more: object = {}): string {
  const error = new MeshError(code, "cannot make it", "it was refused", "see dmesg");
  return explained(error, { ...config, ...more }, { ...root, ...around }, "--no-uapi").sentence();
}

test("without CAP_NET_ADMIN that is the cause, and an unwritable UAPI directory is named too", () => {
  expect(why("permission_denied", { capabilities: 0n })).toContain("it takes CAP_NET_ADMIN");
  const both = why("permission_denied", { capabilities: 0n, uapiDirectoryWritable: false });
  expect(both).toMatch(/CAP_NET_ADMIN.*\/var\/run\/wireguard.*--no-uapi/);
});

test("with it, the cause is what is closed", () => {
  const able = { capabilities: netAdminOnly };
  const uapi = why("permission_denied", { ...able, uapiDirectoryWritable: false });
  expect(uapi).toMatch(/: \/var\/run\/wireguard is not writable; .*--no-uapi/);
  expect(uapi).not.toContain("CAP_NET_ADMIN");
  expect(why("permission_denied", { ...able, tunDevice: "denied" })).toContain("/dev/net/tun may");
  expect(why("permission_denied", able, { listenPort: 53 })).toContain("CAP_NET_BIND_SERVICE");
  const unwanted = { ...able, uapiDirectoryWritable: false };
  expect(why("permission_denied", unwanted, { uapi: false })).not.toContain("wireguard");
});

test("a /dev/net/tun that is something else is named, unless no interface is wanted", () => {
  expect(why("system", { tunDevice: "other" })).toContain("is no TUN device; remove it");
  expect(why("system", { tunDevice: "other" }, { tun: false })).toContain("it was refused");
});

test("other errors stay as they are", () => {
  expect(why("address_in_use", { capabilities: 0n, tunDevice: "other" })).toContain("was refused");
});
