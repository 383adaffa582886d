{ train DIR [STEPS INDEX HOSTS]: trains from Pascal, whose programs run with floating-point traps, in
  turns as train.c does. }
program train;
{$mode objfpc}{$H+}
uses Math, SysUtils;

const
  DIM = 8; KEYS = 200; ROWS = 1000; STEPS = 2000; STEPS_A_FLUSH = 50;
  BUSY = 4;
  LIB = 'damo';

type
  Handle = Pointer;
  PSingle = ^Single;

function damo_last_error_message: PAnsiChar; cdecl; external LIB;
function damo_last_error_code: LongInt; cdecl; external LIB;
function damo_params_new: Handle; cdecl; external LIB;
function damo_params_set_int(params: Handle; key: PAnsiChar; value: Int64): LongInt; cdecl; external LIB;
function damo_params_set_float(params: Handle; key: PAnsiChar; value: Double): LongInt; cdecl; external LIB;
function damo_params_set_str(params: Handle; key, value: PAnsiChar): LongInt; cdecl; external LIB;
procedure damo_params_free(params: Handle); cdecl; external LIB;
function damo_optimizer_new(name: PAnsiChar; params, scheduler: Handle): Handle; cdecl; external LIB;
procedure damo_optimizer_free(optimizer: Handle); cdecl; external LIB;
function damo_initializer_new(name: PAnsiChar; params: Handle): Handle; cdecl; external LIB;
procedure damo_initializer_free(initializer: Handle); cdecl; external LIB;
function damo_storage_new(dir: PAnsiChar; ttl: Int64; options: Handle): Handle; cdecl; external LIB;
function damo_storage_flush(storage: Handle): LongInt; cdecl; external LIB;
procedure damo_storage_free(storage: Handle); cdecl; external LIB;
function damo_embedding_new(storage, optimizer, initializer: Handle; dim: SizeUInt; group: LongWord;
  options: Handle): Handle; cdecl; external LIB;
function damo_embedding_lookup(embedding: Handle; keys: PInt64; keys_len: SizeUInt; weights: PSingle;
  weights_len: SizeUInt): LongInt; cdecl; external LIB;
function damo_embedding_apply_gradients(embedding: Handle; keys: PInt64; keys_len: SizeUInt; gradients: PSingle;
  gradients_len: SizeUInt): LongInt; cdecl; external LIB;
function damo_embedding_step(embedding: Handle; step: PInt64): LongInt; cdecl; external LIB;
procedure damo_embedding_free(embedding: Handle); cdecl; external LIB;

procedure Check(so: Boolean; const what: string);
begin
  if not so then
  begin
    WriteLn(StdErr, what, ': ', damo_last_error_message);
    Halt(1);
  end;
end;

{ Waits while another host has it open. }
function OpenStorage(const dir: string): Handle;
begin
  Result := damo_storage_new(PAnsiChar(dir), 0, nil);
  while Result = nil do
  begin
    Check(damo_last_error_code = BUSY, 'storage');
    Sleep(2);
    Result := damo_storage_new(PAnsiChar(dir), 0, nil);
  end;
end;

{ STEPS, INDEX or HOSTS. }
function Argument(index: LongInt; default_value: Int64): Int64;
begin
  Result := StrToInt64Def(ParamStr(index), default_value);
end;

var
  adam_params, normal_params, options, adam, normal, storage, users: Handle;
  keys_of: array[0..KEYS - 1] of Int64;
  weights, gradients: array[0..KEYS * DIM - 1] of Single;
  index: LongInt;
  step, last, turn: Int64;
  zero, one: Double;
  trapped: Boolean;
begin
  { The traps are on, and stay on whatever damo was asked. }
  Check(not (exZeroDivide in GetExceptionMask) and not (exInvalidOp in GetExceptionMask), 'no traps');
  adam_params := damo_params_new;
  normal_params := damo_params_new;
  options := damo_params_new;
  Check(damo_params_set_float(adam_params, 'gamma', 0.01) = 0, 'gamma');
  Check(damo_params_set_int(normal_params, 'seed', 7) = 0, 'seed');
  Check(damo_params_set_str(options, 'duplicates', 'sum') = 0, 'duplicates');
  adam := damo_optimizer_new('adam', adam_params, nil);
  normal := damo_initializer_new('random_normal', normal_params);
  turn := Argument(2, STEPS);
  while True do
  begin
    storage := OpenStorage(ParamStr(1));
    users := damo_embedding_new(storage, adam, normal, DIM, 0, options);
    Check(users <> nil, 'users');
    Check(damo_embedding_step(users, @step) = 0, 'step');
    if step = STEPS then
      Break;
    last := step;
    if step div turn mod Argument(4, 1) = Argument(3, 0) then
      last := Min((step div turn + 1) * turn, STEPS);
    while step < last do
    begin
      for index := 0 to KEYS - 1 do
        keys_of[index] := -4611686018427387904 + (index * 7919 + step * 104729) mod ROWS;
      for index := 0 to KEYS * DIM - 1 do
        gradients[index] := ((index * 37 + step * 11) mod 101 - 50) / 64;
      Check(damo_embedding_lookup(users, @keys_of[0], KEYS, @weights[0], KEYS * DIM) = 0, 'lookup');
      Check(damo_embedding_apply_gradients(users, @keys_of[0], KEYS, @gradients[0], KEYS * DIM) = 0, 'apply');
      if step mod STEPS_A_FLUSH = 0 then
        Check(damo_storage_flush(storage) = 0, 'flush');
      step := step + 1;
    end;
    damo_embedding_free(users);
    damo_storage_free(storage);
    Sleep(5);
  end;
  { A NaN by its bits, since making one would trap. }
  PLongWord(@gradients[5])^ := $7fc00000;
  Check(damo_embedding_apply_gradients(users, @keys_of[0], KEYS, @gradients[0], KEYS * DIM) = 1, 'NaN');
  Check(Pos('gradients', damo_last_error_message) > 0, 'message');
  Check(damo_storage_flush(options) = 1, 'a handle of another kind');
  zero := 0;
  one := 1;
  trapped := False;
  try
    zero := one / zero;
  except
    on EZeroDivide do trapped := True;
  end;
  Check(trapped, 'the traps are gone');
  damo_embedding_free(users);
  damo_storage_free(storage);
  damo_optimizer_free(adam);
  damo_initializer_free(normal);
  damo_params_free(adam_params);
  damo_params_free(normal_params);
  damo_params_free(options);
end.
