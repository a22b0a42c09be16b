use super::super::testing::{check, evaluate};

/// What `pack` makes of values, in base 16.
fn packed(values: &str) -> String {
    evaluate(&format!(
        "(cmsgpack.pack({values}):gsub('.', function(c) return ('%02x'):format(c:byte()) end)), ''"
    ))
    .trim_end()
    .to_owned()
}

#[test]
fn values_take_as_few_bytes_as_they_need() {
    for (values, bytes) in [
        ("nil, true, false, print, cjson.null", "c0c3c2c0c0"),
        ("0, 127, 128, 255, 256", "007fcc80ccffcd0100"),
        ("65535, 65536, 2^32 - 1, 2^32", "cdffffce00010000ceffffffffcf0000000100000000"),
        ("2^53, 2^63", "cf0020000000000000ca5f000000"),
        ("-1, -32, -33, -128, -129", "ffe0d0dfd080d1ff7f"),
        ("-32768, -32769, -2^31, -2^31 - 1", "d18000d2ffff7fffd280000000d3ffffffff7fffffff"),
        ("0.5, 0.1, 1/0", "ca3f000000cb3fb999999999999aca7f800000"),
        ("-0", "00"),
        ("'', 'abc', 12", "a0a36162630c"),
        ("{}, {1, 2}, {a = 1}", "9092010281a16101"),
        ("{[1] = 1, [3] = 3}", "8201010303"),
        ("{[0] = 1}, {[1.5] = 1}, {['1'] = 1}", "81000181ca3fc000000181a13101"),
        ("{[{1}] = {2}}, {{{}}, {a = {}}}", "819101910292919081a16190"),
    ] {
        assert_eq!(packed(values), bytes, "{values}");
    }
}

#[test]
fn lengths_take_as_few_bytes_as_they_need() {
    check(&[
        ("(cmsgpack.pack(('x'):rep(31)):byte())", "191"),
        ("cmsgpack.pack(('x'):rep(32)):byte(1, 3)", "217 32 120"),
        ("cmsgpack.pack(('x'):rep(255)):byte(1, 3)", "217 255 120"),
        ("cmsgpack.pack(('x'):rep(256)):byte(1, 4)", "218 1 0 120"),
        ("cmsgpack.pack(('x'):rep(65536)):byte(1, 6)", "219 0 1 0 0 120"),
        ("cmsgpack.pack({1,2,3,4,5,6,7,8,9,10,11,12,13,14,15}):byte(1, 2)", "159 1"),
        ("cmsgpack.pack({1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}):byte(1, 4)", "220 0 16 1"),
        ("(function() local t = {} for i = 0, 15 do t[i] = i end return cmsgpack.pack(t):byte(1, 3) end)()", "222 0 16"),
    ]);
}

#[test]
fn tables_that_contain_themselves_have_an_end() {
    check(&[
        ("(function() local a = {} a[1] = a return #cmsgpack.pack(a), cmsgpack.pack(a):byte(-2, -1) end)()", "17 145 192"),
        ("(function() local a = {} a.x = a return #cmsgpack.pack(a), cmsgpack.pack(a):byte(-1) end)()", "49 192"),
        ("(function() local a = {} a[{}] = a return #cmsgpack.pack(a) end)()", "33"),
    ]);
}

#[test]
fn all_that_is_packed_comes_back() {
    check(&[
        (
            "cmsgpack.unpack(cmsgpack.pack(1, -1, 0.1, 'x', nil, true, 2^40))",
            "1 -1 0.1 x nil true 1099511627776",
        ),
        ("cmsgpack.unpack(cmsgpack.pack({a = {b = {1, 'c'}}})).a.b[2]", "c"),
        ("cmsgpack.unpack('\\204\\255\\208\\255\\209\\255\\254\\210\\255\\255\\255\\253')", "255 -1 -2 -3"),
        ("cmsgpack.unpack('\\207' .. ('\\255'):rep(8) .. '\\211' .. ('\\255'):rep(7) .. '\\252')", "-1 -4"),
        ("#cmsgpack.unpack('\\221\\0\\0\\0\\2\\1\\2'), cmsgpack.unpack('\\223\\0\\0\\0\\1\\5\\6')[5]", "2 6"),
        ("cmsgpack.unpack('')", ""),
    ]);
}

#[test]
fn parts_of_a_text_can_be_unpacked() {
    check(&[
        ("cmsgpack.unpack_one('\\1\\2\\3')", "1 1"),
        ("cmsgpack.unpack_one('\\1\\2\\3', 2)", "-1 3"),
        ("cmsgpack.unpack_limit('\\1\\2\\3', 2)", "2 1 2"),
        ("cmsgpack.unpack_limit('\\1\\2\\3', 0)", "1 2 3"),
        ("cmsgpack.unpack_limit('\\1\\2\\3', 0, 1)", "1"),
        ("cmsgpack.unpack_limit('\\1\\2\\3', 2^40, 1)", "-1 2 3"),
    ]);
}

#[test]
fn errors_are_those_of_the_original() {
    check(&[
        ("cmsgpack.pack()", "! user_script:1: bad argument #0 to 'pack' (MessagePack pack needs input.)"),
        (
            "cmsgpack.pack(unpack({}, 1, 4001))",
            "! user_script:1: bad argument #0 to 'pack' (Too many arguments for MessagePack pack.)",
        ),
        ("cmsgpack.unpack()", "! user_script:1: bad argument #1 to 'unpack' (string expected, got no value)"),
        (
            "cmsgpack.unpack_limit('a')",
            "! user_script:1: bad argument #2 to 'unpack_limit' (number expected, got no value)",
        ),
        ("cmsgpack.unpack('\\193')", "! user_script:1: Bad data format in input."),
        ("cmsgpack.unpack('\\196\\1a')", "! user_script:1: Bad data format in input."),
        ("cmsgpack.unpack('\\217\\3ab')", "! user_script:1: Missing bytes in input."),
        ("cmsgpack.unpack('\\221\\255\\255\\255\\255\\1')", "! user_script:1: Missing bytes in input."),
        (
            "cmsgpack.unpack_one('abc', -1)",
            "! user_script:1: Invalid request to unpack with offset of -1 and limit of 3.",
        ),
        ("cmsgpack.unpack_one('abc', 4)", "! user_script:1: Start offset 4 greater than input length 3."),
        ("cmsgpack.unpack('\\129\\192\\1')", "! table index is nil"),
        ("cmsgpack.unpack('\\129\\203\\127\\248\\0\\0\\0\\0\\0\\0\\1')", "! table index is NaN"),
    ]);
}

#[test]
fn nesting_and_results_are_limited() {
    let too_many =
        "! user_script:1: stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)";
    let too_deep = "! user_script:1: stack overflow (in function mp_decode_to_lua_array)";
    check(&[
        ("cmsgpack.unpack(('\\1'):rep(1000000))", too_many),
        ("cmsgpack.unpack(('\\161x'):rep(1000000))", too_many),
        ("cmsgpack.unpack(('\\129\\1'):rep(1000000))", too_many),
        ("cmsgpack.unpack(('\\145'):rep(1000000))", too_deep),
        ("select('#', cmsgpack.unpack(('\\161x'):rep(7800)))", "7800"),
        ("#cmsgpack.unpack(('\\145'):rep(3900) .. '\\1')", "1"),
    ]);
}

#[test]
fn any_text_is_answered() {
    let answer = evaluate(
        "(function()
            math.randomseed(13)
            local understood = 0
            for i = 1, 30000 do
                local t = {}
                for j = 1, math.random(0, 12) do t[j] = string.char(math.random(0, 255)) end
                local text = table.concat(t)
                local ok, value = pcall(cmsgpack.unpack, text)
                if ok then
                    understood = understood + 1
                    cmsgpack.pack(value)
                else
                    assert(type(value) == 'string')
                end
                pcall(cmsgpack.unpack_limit, text, math.random(-1, 4), math.random(-1, 14))
            end
            return understood > 100
        end)()",
    );
    assert_eq!(answer, "true");
}
