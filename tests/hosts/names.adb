--  names: that the specification which GCC makes of damo.h compiles, and calls work. Ada takes names
--  that differ in case only for one, so it is made with DAMO_CASE_INSENSITIVE.
with Interfaces.C;         use Interfaces.C;
with Interfaces.C.Strings; use Interfaces.C.Strings;
with damo_h;               use damo_h;

procedure names is
   Seed   : chars_ptr := New_String ("seed");
   Params : constant access damo_params := damo_params_new;
begin
   if damo_abi_version /= 1 then
      raise Program_Error with "another version of the interface";
   end if;
   if damo_params_set_int (Params, Seed, 7) /= DAMO_STATUS_OK then
      raise Program_Error with Value (damo_last_error_message);
   end if;
   if damo_params_set_int (null, Seed, 7) /= DAMO_STATUS_INVALID_ARGUMENT then
      raise Program_Error with "NULL was accepted";
   end if;
   damo_params_free (Params);
   Free (Seed);
end names;
